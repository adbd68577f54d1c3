import variata.testing

test_conformance = variata.testing.conformance("kernel/variata_my_part::log_cosh")
