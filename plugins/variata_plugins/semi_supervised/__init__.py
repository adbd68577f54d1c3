r"""Semi-supervised autoencoders: what a VAE learns from all examples serves a classifier that knows few labels.

    M1      p(z) p(x | z), a VAE; and p(y | z), a classifier that reads its codes
    M2      p(y) p(z) p(x | y, z), with q(y | x) for a classifier and q(z | x, y)
    M1+M2   the codes of M1 are the data of M2: p(y) p(z2) p(z1 | y, z2) p(x | z1)

In M2 a label that is not known is one latent variable more, and is summed out:

    log p(x, y) >= -L(x, y) = E_q(z|x,y)[log p(x | y, z)] + log p(y) - KL(q(z | x, y) || p(z))
    log p(x)    >= -U(x)    = sum_y q(y | x) (-L(x, y)) + H(q(y | x))

Here: M2 (`m2.py`) with its loss (`m2_loss.py`), and the models of codes (`on_codes.py`), which train side by side
(`on_codes_loss.py`) with any loss of theirs.

Kingma, Rezende, Mohamed and Welling (2014), Semi-Supervised Learning with Deep Generative Models, arXiv:1406.5298.
"""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """M1, M2 and both together."""
    here = "variata_plugins.semi_supervised"
    return [
        Component("model", "m1", f"{here}.on_codes:M1", "VAE whose codes a classifier reads"),
        Component("model", "m1_m2", f"{here}.on_codes:M1M2", "VAE whose codes are the data of an M2"),
        Component("model", "m2", f"{here}.m2:M2", "VAE with the class for a latent variable"),
        Component("loss", "m2", f"{here}.m2_loss:M2Loss", "Bounds of what is labelled and what is not"),
        Component(
            "loss", "on_codes", f"{here}.on_codes_loss:OnCodesLoss", "Loss of a VAE, and of what reads its codes"
        ),
    ]


@hookimpl
def variata_presets() -> Path:
    """m1, m2 and m1_m2."""
    return Path(__file__).parent / "presets"
