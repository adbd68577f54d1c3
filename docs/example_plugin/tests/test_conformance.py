import variata.testing

test_prior = variata.testing.conformance("laplace")
test_operator = variata.testing.conformance("kernel/gaussian_laplace_kl")
test_model = variata.testing.conformance("sparse_coding")
test_loss = variata.testing.conformance("variational_em")
test_preset = variata.testing.conformance("preset/laplace_vae")
