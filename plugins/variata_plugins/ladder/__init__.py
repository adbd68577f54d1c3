r"""Ladder networks: a classifier that learns from a few labels, and from restoring every layer of the other examples.

    corrupted   z~_l = N(W_l h~_(l-1)) + noise,  h~_l = act(a_l z~_l + b_l),  from h~_0 = x + noise to p~(y | x)
    clean       the same without noise: z_l
    decoder     u_L = N(p~),  u_l = N(V_l z^_(l+1)),  z^_l = g_l(z~_l, u_l)

    minimise  -log p~(y | x) of what is labelled + sum_l lambda_l / m_l |z_l - (z^_l - mu_l) / sigma_l|^2 of the rest

N normalises each feature over the batch; mu_l and sigma_l are what it took away on the clean path. What a layer above
knows comes down as u_l, the details cross by z~_l, so that upper layers need not keep them. With lambda at the top
alone it is the Gamma model, which has no decoder but g_L. What is left for use is a plain network with normalisation.

Here: the network with its paths (`model.py`, `stage.py`), the loss, whose decoder only training needs (`loss.py`,
`decoder.py`), and the combinators g, a kind of their own (`combinator.py`: `gaussian.py`, `vanilla.py`, `amlp.py`).

Rasmus, Valpola, Honkala, Berglund and Raiko (2015), Semi-Supervised Learning with Ladder Networks, arXiv:1507.02672.
"""

from pathlib import Path

from variata import Component, Kind, hookimpl


@hookimpl
def variata_kinds() -> list[Kind]:
    """Combinators."""
    target = "variata_plugins.ladder.combinator:Combinator"
    return [Kind("combinator", target, "g: what a layer was, from its noisy value and from above")]


@hookimpl
def variata_components() -> list[Component]:
    """A ladder network, its loss, and combinators."""
    here = "variata_plugins.ladder"
    return [
        Component("model", "ladder", f"{here}.model:LadderNetwork", "Ladder network: classes from few labels"),
        Component("loss", "ladder", f"{here}.loss:LadderLoss", "-log p(y | x) under noise, and every layer restored"),
        Component("combinator", "gaussian", f"{here}.gaussian:GaussianCombinator", "Mean and gain from above"),
        Component("combinator", "vanilla", f"{here}.vanilla:VanillaCombinator", "Linear and a sigmoid, with products"),
        Component("combinator", "amlp", f"{here}.amlp:AMLPCombinator", "A small network for each feature"),
    ]


@hookimpl
def variata_presets() -> Path:
    """ladder, ladder_gamma and conv_ladder."""
    return Path(__file__).parent / "presets"
