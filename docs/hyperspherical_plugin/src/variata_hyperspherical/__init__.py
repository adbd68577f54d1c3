r"""Codes on the unit sphere S^{m-1} in R^m, where a Gaussian prior would draw all of them towards one point.

    q(z | x) = vMF(z; mu, k) = exp(k mu'z) / Z_m(k),      p(z) = 1 / |S^{m-1}|,      |mu| = |z| = 1,  k >= 0

The prior has no centre and no direction, so that it costs codes nothing to be where they like: what they pay for is
how sure they are. Their divergence has a closed form, which does not know mu:

    KL(q || p) = k A_m(k) - log Z_m(k) + log |S^{m-1}|,   A_m(k) = I_{m/2}(k) / I_{m/2-1}(k).

Here: the Bessel functions that everything is made of (`bessel.py`), the two laws and their divergence (`laws.py`), how
z is drawn, with gradients (`angle.py`), the encoder (`encoder.py`) and the prior (`prior.py`).

Davidson, Falorsi, De Cao, Kipf and Tomczak (2018), Hyperspherical Variational Auto-Encoders, arXiv:1804.00891.
"""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The posterior and its prior."""
    here = "variata_hyperspherical"
    return [
        Component("encoder", "von_mises_fisher", f"{here}.encoder:VonMisesFisherEncoder", "Posterior on the sphere"),
        Component("prior", "hyperspherical_uniform", f"{here}.prior:HypersphericalUniformPrior", "Uniform on a sphere"),
    ]


@hookimpl
def variata_presets() -> Path:
    """hyperspherical_vae."""
    return Path(__file__).parent / "presets"
