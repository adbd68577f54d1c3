"""The parts and the preset keep what their kinds promise."""

from __future__ import annotations

import pytest
from variata_hyperspherical.laws import HypersphericalUniform

import variata
import variata.testing


def as_uniform(law):
    """A law on the same sphere whose density is known."""
    return HypersphericalUniform(law.mean.new_zeros(law.event_shape))


test_encoder = variata.testing.conformance(
    "von_mises_fisher", siblings={"prior": "hyperspherical_uniform"}, reference=as_uniform
)
test_prior = variata.testing.conformance(
    "hyperspherical_uniform", siblings={"encoder": "von_mises_fisher"}, reference=as_uniform
)
test_preset = variata.testing.conformance("preset/hyperspherical_vae")


def test_a_sphere_of_one_coordinate_is_refused():
    with pytest.raises(variata.ConfigError, match="needs two coordinates or more"):
        variata.build("hyperspherical_vae", {"model.latent": 1})
