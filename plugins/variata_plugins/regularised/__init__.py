r"""Relatives of the VAE that regularise its codes in another way.

The KL term of the ELBO asks two things at once: that q(z | x) say little of x, and that q(z), what the decoder is
trained on, be like p(z), what it will sample from. The losses here tell them apart.

    beta_tc    the KL in three parts, with a weight on the total correlation             `beta_tc.py`
    info_vae   a divergence of q(z) from p(z) by draws (`mmd.py`) beside the KL          `info_vae.py`
    wae_mmd    the same divergence for codes without a law, of an `autoencoder`          `wae.py`
    rae        a decoder that is smooth, and a density fitted to the codes afterwards    `rae.py`
"""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The losses."""
    here = "variata_plugins.regularised"
    return [
        Component("loss", "beta_tc", f"{here}.beta_tc:BetaTC", "ELBO with a weight on the total correlation"),
        Component("loss", "wae_mmd", f"{here}.wae:WAE", "Reconstruction with the MMD of codes from the prior"),
        Component("loss", "rae", f"{here}.rae:RAE", "Reconstruction, small codes, a smooth decoder"),
        Component("loss", "info_vae", f"{here}.info_vae:InfoVAE", "ELBO with the MMD of codes from the prior"),
    ]


@hookimpl
def variata_presets() -> Path:
    """beta_tcvae, wae_mmd, info_vae, rae."""
    return Path(__file__).parent / "presets"
