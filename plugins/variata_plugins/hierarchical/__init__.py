r"""Variational autoencoders with several stochastic layers, z_L at the top and z_1 next to x:

    p(x, z) = p(z_L) p(z_(L-1) | z_L) ... p(z_1 | z_2) p(x | z_1),      Gaussians, each given what is above

    ELBO(x) = E_q[ log p(x | z_1) ] - sum_l E_q[ KL_l ]

What makes such a model learn to use its upper layers is how it infers them. From below, z_1 is drawn first, and the
upper layers see x through its noise alone, so that they tend to be left unused. In the order of generation, z_l is
drawn given z_(l+1) and what a deterministic path upwards saw of x; the ladder merges both as Bayes' rule would merge
two Gaussian messages.

Here: the loop over the layers that all of these models share (`hierarchy.py`); how they are inferred (`inference.py`),
in three ways, `bottom_up.py`, `top_down.py` and `ladder.py` with its merge (`merge.py`); the hierarchy of Gaussians
(`model.py`); the residual one, whose layers add to a state (`residual.py`, of `blocks.py`); and a bound whose KL terms
are weighed layer by layer (`loss.py`). Every list is in the order of generation: the top layer first.
"""

from pathlib import Path

from variata import Component, Kind, hookimpl

_HERE = "variata_plugins.hierarchical"


@hookimpl
def variata_kinds() -> list[Kind]:
    """The kind of inference."""
    return [Kind("inference", f"{_HERE}.inference:Inference", "How the layers of a hierarchy are inferred")]


@hookimpl
def variata_components() -> list[Component]:
    """Models, ways of inference, and the loss."""
    return [
        Component(
            "model",
            "hierarchical_vae",
            f"{_HERE}.model:HierarchicalVAE",
            "Several Gaussian layers, each given the one above",
        ),
        Component("model", "residual_vae", f"{_HERE}.residual:ResidualVAE", "Many small layers, which add to a state"),
        Component("inference", "bottom_up", f"{_HERE}.bottom_up:BottomUp", "Each layer from the one below"),
        Component("inference", "top_down", f"{_HERE}.top_down:TopDown", "Each layer from the one above and x"),
        Component("inference", "ladder", f"{_HERE}.ladder:Ladder", "What x says, merged with the prior by precision"),
        Component("network", "readout", f"{_HERE}.blocks:Readout", "A last layer, from features at every pixel"),
        Component(
            "loss", "hierarchical_elbo", f"{_HERE}.loss:HierarchicalELBO", "ELBO whose KL terms are weighed by layer"
        ),
    ]


@hookimpl
def variata_presets() -> Path:
    """hierarchical_vae, ladder_vae and others."""
    return Path(__file__).parent / "presets"
