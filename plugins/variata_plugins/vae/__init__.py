r"""The variational autoencoder.

The model of Kingma and Welling (2014) and Rezende, Mohamed and Wierstra (2014): a latent z ~ p(z), a decoder p(x |
z), and an encoder q(z | x) that stands in for the intractable posterior. Training maximises a bound on log p(x),

    ELBO(x) = E_q(z|x)[log p(x | z)] - KL(q(z | x) || p(z)),

and sampling needs the prior and the decoder alone. Here: the model (`model.py`), the Gaussian encoder (`encoder.py`),
the standard normal prior (`prior.py`), and the ELBO with its variations (`elbo.py`). Bounds of several samples, other
posteriors and other priors are plugins beside it: `bounds`, `posteriors`, `priors`, `flows`.
"""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The parts of a VAE."""
    here = "variata_plugins.vae"
    return [
        Component("model", "vae", f"{here}.model:VAE", "Variational autoencoder, conditional where asked"),
        Component("encoder", "gaussian", f"{here}.encoder:GaussianEncoder", "Diagonal Gaussian posterior"),
        Component("prior", "standard_normal", f"{here}.prior:StandardNormalPrior", "N(0, I)"),
        Component("loss", "elbo", f"{here}.elbo:ELBO", "Evidence lower bound: beta, free bits, capacity"),
    ]


@hookimpl
def variata_presets() -> Path:
    """vae, cvae, beta_vae and others."""
    return Path(__file__).parent / "presets"
