import variata.testing

test_conformance = variata.testing.conformance("my_kind/my_part")
test_preset = variata.testing.conformance("preset/variata-my-part/my_part")
