r"""Autoencoders with a critic: what the second player of a GAN is good for beside an encoder.

    aae          q(z) = E_x q(z | x) is brought to p(z): the critic sees codes and draws of the prior
    factor_vae   q(z) is brought to prod_j q(z_j): the critic sees codes, and codes with their dimensions shuffled
    vae_gan      decoded codes are brought to the data: the critic sees examples, and says by what they are compared

A critic's best value is a log ratio of two densities (`variata_plugins.gan`), so that it stands in for a divergence
that has no closed form. Here: what the losses share (`critic.py`), and the losses themselves: the adversarial
autoencoder (`aae.py`), FactorVAE (`factor_vae.py`) and VAE-GAN (`vae_gan.py`). Their models are other plugins'.
"""

from pathlib import Path

from variata import Component, hookimpl

_HERE = "variata_plugins.two_player"


@hookimpl
def variata_components() -> list[Component]:
    """The losses."""
    return [
        Component("loss", "aae", f"{_HERE}.aae:AdversarialAutoencoder", "Error, and a critic of the codes' law"),
        Component("loss", "factor_vae", f"{_HERE}.factor_vae:FactorVAE", "ELBO, and total correlation by a critic"),
        Component("loss", "vae_gan", f"{_HERE}.vae_gan:VAEGAN", "Reconstruction in the features of a critic"),
    ]


@hookimpl
def variata_presets() -> Path:
    """aae, factor_vae, vae_gan."""
    return Path(__file__).parent / "presets"
