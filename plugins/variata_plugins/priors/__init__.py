r"""Priors p(z) that learn.

Averaged over the data, the ELBO is largest for the prior p(z) = E_x[q(z | x)], the aggregate posterior (Hoffman and
Johnson, 2016, ELBO surgery). The standard normal is far from it: what the posterior must give up to look like it is
the price of a prior that nobody fitted, and codes between the posteriors decode to nothing. Here are priors that move
towards the aggregate posterior, from the plainest: a Gaussian whose mean and variances are learned (`gaussian.py`), a
mixture of Gaussians (`gaussian_mixture.py`), and the VampPrior, a mixture of posteriors (`vamp.py`; Tomczak and
Welling, 2018). A flow as prior is in the plugin `flows`.

All may depend on a condition y: `conditional.py` says how. `mixture.py` holds the law of a mixture.
"""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The priors."""
    here = "variata_plugins.priors"
    return [
        Component("prior", "gaussian", f"{here}.gaussian:GaussianPrior", "Gaussian, mean and variances learned"),
        Component(
            "prior",
            "gaussian_mixture",
            f"{here}.gaussian_mixture:GaussianMixturePrior",
            "Mixture of Gaussians, learned",
        ),
        Component("prior", "vamp", f"{here}.vamp:VampPrior", "Mixture of posteriors of learned inputs, or of examples"),
    ]


@hookimpl
def variata_presets() -> Path:
    """vamp_vae, exemplar_vae, gmm_vae and others."""
    return Path(__file__).parent / "presets"
