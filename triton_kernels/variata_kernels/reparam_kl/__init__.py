"""Reparameterised sampling of a diagonal Gaussian, together with its KL divergence."""
