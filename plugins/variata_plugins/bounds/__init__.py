r"""Bounds on log p(x) from several samples of the posterior.

With z_1, ..., z_K ~ q(z | x) and the weights w_k = p(x, z_k) / q(z_k | x),

    ELBO = L_1 <= L_2 <= ... <= L_K = E[ log 1/K sum_k w_k ] <= log p(x),

Burda, Grosse and Salakhutdinov (2016). The larger K, the closer the bound, and the less its gradient says about the
encoder: the signal of that gradient falls faster than its noise (Rainforth et al., 2018). What is done about it: other
estimates of the same gradient (`weights.py`: sticking the landing, and the doubly reparameterised one), and other ways
to spend M K samples: the mean of M bounds (`miwae.py`), that mean for the encoder alone (`piwae.py`), and a mixture
with the ELBO (`ciwae.py`). The importance-weighted bound itself is in `iwae.py`.
"""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The losses."""
    here = "variata_plugins.bounds"
    return [
        Component("loss", "iwae", f"{here}.iwae:IWAE", "Importance-weighted bound of K samples"),
        Component("loss", "miwae", f"{here}.miwae:MIWAE", "Mean of M importance-weighted bounds"),
        Component("loss", "piwae", f"{here}.piwae:PIWAE", "That mean for the encoder, one tight bound for the rest"),
        Component("loss", "ciwae", f"{here}.ciwae:CIWAE", "Mixture of the ELBO and the importance-weighted bound"),
    ]


@hookimpl
def variata_presets() -> Path:
    """iwae, dreg_iwae, miwae and others."""
    return Path(__file__).parent / "presets"
