r"""Gaussian posteriors q(z | x) whose dimensions may depend on each other.

In probabilistic PCA the posterior is a Gaussian with a full covariance, and a diagonal q loses
1/2 (sum_j log M_jj - log det M) nats against it (docs/mathematics.md). The gap closes with a covariance S = L L' whose
Cholesky factor the network gives (`full.py`), or with S = D + W W' where that is too large (`low_rank.py`). Their
divergence from a diagonal Gaussian has a closed form (`divergence.py`), and their noise has its place when a model is
evaluated. Posteriors that are no Gaussians are in the plugin `flows`.
"""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The posteriors."""
    here = "variata_plugins.posteriors"
    return [
        Component("encoder", "full_gaussian", f"{here}.full:FullGaussianEncoder", "Gaussian, full covariance"),
        Component(
            "encoder",
            "low_rank_gaussian",
            f"{here}.low_rank:LowRankGaussianEncoder",
            "Gaussian, covariance of low rank plus diagonal",
        ),
    ]


@hookimpl
def variata_presets() -> Path:
    """full_gaussian_vae and low_rank_vae."""
    return Path(__file__).parent / "presets"
