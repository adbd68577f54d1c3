r"""Latents that are classes, and the continuous relaxation of them.

z is a row of one-hot vectors, each of one of K classes. Its law is discrete: no draw of it has a derivative. Two ways
lead on, and they are two models:

    discrete    z is one-hot. The KL is that of categorical laws, and log p(x) a sum over all z. Only the gradient is
                an approximation: that of a relaxed draw stands in for it ("straight through")   `categorical.py`
    relaxed     z lies inside the simplex, with a density. The KL is that of the densities, by the draw, and log p(x)
                an integral over the simplex: another model, whose gradient is unbiased          `relaxed.py`

A relaxed draw with the KL of the discrete laws belongs to neither: its objective bounds no log p(x), and it cannot be
assembled here. Each prior is made for the encoder of its kind, and refuses the other.

A temperature says how near relaxed draws come to one-hot ones; it may fall during training (`annealing.py`).
"""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """Encoders, their priors, and a loss that moves their temperature."""
    here = "variata_plugins.discrete"
    return [
        Component("encoder", "categorical", f"{here}.categorical:CategoricalEncoder", "One-hot posterior"),
        Component("prior", "categorical", f"{here}.categorical:CategoricalPrior", "One-hot, uniform or learned"),
        Component(
            "encoder", "relaxed_categorical", f"{here}.relaxed:RelaxedEncoder", "Concrete posterior, on the simplex"
        ),
        Component("prior", "relaxed_categorical", f"{here}.relaxed:RelaxedPrior", "Concrete law, uniform or learned"),
        Component("loss", "annealed", f"{here}.annealing:Annealed", "Another loss, at a temperature that changes"),
    ]


@hookimpl
def variata_presets() -> Path:
    """categorical_latent_vae and concrete_vae."""
    return Path(__file__).parent / "presets"
