"""The parts and the preset keep what their kinds promise."""

from __future__ import annotations

import variata.testing

test_data = variata.testing.conformance("damped_oscillations", options={"examples": 300})
test_encoder = variata.testing.conformance("encoder/signal")
test_network = variata.testing.conformance("network/conv1d")
test_preset = variata.testing.conformance("preset/signal_vae")
