r"""Relatives of the VAE that regularise its codes in another way.

The KL term of the ELBO asks two things at once: that q(z | x) say little of x, and that q(z), what the decoder is
trained on, be like p(z), what it will sample from. The losses here tell them apart.

    beta_tc    the KL in three parts, with a weight on the total correlation             `beta_tc.py`
    info_vae   a divergence of q(z) from p(z) by draws (`mmd.py`) beside the KL          `info_vae.py`
"""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The losses, and the autoencoder without a posterior."""
    here = "variata_plugins.regularised"
    return [
        Component("loss", "beta_tc", f"{here}.beta_tc:BetaTC", "ELBO with a weight on the total correlation"),
        Component("loss", "info_vae", f"{here}.info_vae:InfoVAE", "ELBO with the MMD of codes from the prior"),
    ]


@hookimpl
def variata_presets() -> Path:
    """beta_tcvae, wae_mmd, info_vae, rae."""
    return Path(__file__).parent / "presets"
