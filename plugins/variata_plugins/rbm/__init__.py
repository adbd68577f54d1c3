r"""The restricted Boltzmann machine: a law of x that is known up to its constant.

    p(v) = exp(-F(v)) / Z,      F(v) = -log sum_h exp(-E(v, h)),      E(v, h) = energy(v) - drive(v)' W h - c' h

Visible units v and binary hidden units h (Smolensky, 1986; Hinton, 2002) that are independent given each other: what
makes sampling alternate between two easy draws, and F a sum. Z is out of reach but for small models. So the gradient
of log p, a difference between the data and the model, is estimated by Markov chains, and so is Z where it is wanted.

Here, in the order of reading: the units (`units.py`: what v is), the model (`model.py`), its constant by enumeration
(`partition.py`); then the losses: what they share (`contrastive.py`), chains that start at the data (`cd.py`), chains
that are kept (`pcd.py`), and kept ones at several temperatures (`tempering.py`). Machines on top of one another are a
deep belief network (`belief.py`), trained layer by layer (`greedy.py`), with a bound on its log-likelihood
(`bound.py`). Pictures of weights are in `pictures.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from variata import Component, Kind, hookimpl

if TYPE_CHECKING:
    from variata import MetricsContext, RunContext

_HERE = "variata_plugins.rbm"


@hookimpl
def variata_kinds() -> list[Kind]:
    """What the visible units of a Boltzmann machine are."""
    return [Kind("units", f"{_HERE}.units:VisibleUnits", "p(v | h) of a Boltzmann machine's visible units")]


@hookimpl
def variata_components() -> list[Component]:
    """The models, the units, three estimates of the gradient, and what trains and measures layers of machines."""
    return [
        Component("model", "rbm", f"{_HERE}.model:RBM", "Restricted Boltzmann machine with binary hidden units"),
        Component("units", "binary", f"{_HERE}.units:BinaryUnits", "0 or 1"),
        Component("units", "gaussian", f"{_HERE}.units:GaussianUnits", "Real numbers, normal given the hidden units"),
        Component("loss", "cd", f"{_HERE}.cd:ContrastiveDivergence", "Contrastive divergence of k sweeps"),
        Component("loss", "pcd", f"{_HERE}.pcd:PersistentContrastiveDivergence", "The same with chains that are kept"),
        Component("loss", "pt_pcd", f"{_HERE}.tempering:TemperedPCD", "Kept chains at several temperatures"),
        Component("model", "deep_belief_network", f"{_HERE}.belief:DeepBeliefNetwork", "Boltzmann machines in layers"),
        Component("loss", "greedy", f"{_HERE}.greedy:Greedy", "Layer by layer, each by a loss of its own"),
        Component(
            "metric", "deep_belief_bound", f"{_HERE}.bound:DeepBeliefBound", "Of a deep belief network's log p(x)"
        ),
    ]


@hookimpl
def variata_presets() -> Path:
    """rbm, rbm_pcd and others."""
    return Path(__file__).parent / "presets"


@hookimpl
def variata_default_metrics(context: MetricsContext) -> list[str]:
    """Of a deep belief network, the bound."""
    from .belief import DeepBeliefNetwork

    return ["deep_belief_bound"] if isinstance(context.model, DeepBeliefNetwork) else []


@hookimpl
def variata_run_ended(context: RunContext) -> None:
    """Leaves filters.png in the run of a Boltzmann machine, and one for each further layer."""
    from .pictures import draw_run

    draw_run(context)
