r"""Sum-product networks (probabilistic circuits): densities whose every marginal and conditional is exact.

    S(x) = sum_k w_k P_k(x)        a sum is a mixture
    P(x) = prod_c S_c(x_c)         a product makes variables independent, given everything that was chosen above it

A structure is data (`graph.py`), cut into layers of log-space tensors (`layers.py`); the leaves are
laws of single variables (`leaves.py`, `gaussian.py`); the model asks them everything (`model.py`). Structures: a
mixture (`structure.py`), trees that are learned from data (`trees.py`), random regions (`rat.py`), rectangles
(`poon_domingos.py`). Training is gradient descent, by the loss `nll`, or expectation maximisation (`em.py`). A circuit
is also a law of codes: a prior of one-hot ones (`prior.py`), or the law that is fitted to those of a `vq_vae`.
"""

from pathlib import Path

from variata import Component, Kind, hookimpl


@hookimpl
def variata_kinds() -> list[Kind]:
    """What a circuit is made of."""
    here = "variata_plugins.circuits"
    return [
        Kind("structure", f"{here}.structure:Structure", "which regions a circuit has, and how they are cut"),
        Kind("leaf", f"{here}.leaves:Leaf", "the laws of single variables in a circuit"),
    ]


@hookimpl
def variata_components() -> list[Component]:
    """Circuits and their parts."""
    here = "variata_plugins.circuits"
    return [
        Component("model", "circuit", f"{here}.model:Circuit", "Sum-product network: every marginal is exact"),
        Component("structure", "chow_liu", f"{here}.trees:ChowLiu", "The tree of highest likelihood, exactly"),
        Component("structure", "hclt", f"{here}.trees:HCLT", "Hidden variables in a Chow-Liu tree"),
        Component("structure", "mixture", f"{here}.structure:Mixture", "A mixture of independent laws"),
        Component("structure", "poon_domingos", f"{here}.poon_domingos:PoonDomingos", "All rectangles of an image"),
        Component("structure", "rat", f"{here}.rat:RAT", "Random regions, several times"),
        Component("leaf", "bernoulli", f"{here}.leaves:Bernoulli", "Binary values"),
        Component("leaf", "binomial", f"{here}.leaves:Binomial", "Levels, one probability for all of them"),
        Component("leaf", "categorical", f"{here}.leaves:Categorical", "Levels, each with its probability"),
        Component("leaf", "gaussian", f"{here}.gaussian:Gaussian", "Real numbers, of bounded scale"),
        Component("leaf", "indicator", f"{here}.leaves:Indicator", "Sure of one level: for selective circuits"),
        Component("prior", "circuit", f"{here}.prior:CircuitPrior", "One-hot codes, with exact marginals"),
        Component("loss", "em", f"{here}.em:ByEM", "Negative log-likelihood, by expectation maximisation"),
        Component("optimizer", "em", f"{here}.em:EM", "To expected counts, with step and pseudocount"),
    ]


@hookimpl
def variata_presets() -> Path:
    """chow_liu, hclt, rat_spn and others."""
    return Path(__file__).parent / "presets"
