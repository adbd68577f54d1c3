r"""Generative adversarial networks: a law that is known by its samples alone.

    x = G(z),  z ~ N(0, I);      min over G  max over f  of   E_data[a(f(x))] + E_G[b(f(G(z)))]

The generator G turns noise into examples (Goodfellow et al., 2014); there is no density of x, and none is needed. A
critic f tells examples of the data from those of G, and G is moved to where f takes its examples for data. For the best
f, the value is a divergence between the two laws: which one, the game's a and b decide.

Here, in the order of reading: the model (`model.py`: the generator), the games (`game.py`: what f and G minimise), what
keeps f smooth (`penalty.py`, `clipping.py`; spectral norm is an option of networks), the loss, whose phases are the two
players (`loss.py`: f belongs to it), and a metric that counts the modes which samples cover (`modes.py`). Games and
penalties are for other plugins too.
"""

from pathlib import Path

from variata import Component, Kind, hookimpl

_HERE = "variata_plugins.gan"


@hookimpl
def variata_kinds() -> list[Kind]:
    """What a critic and a generator minimise, and what keeps a critic smooth."""
    return [
        Kind("game", f"{_HERE}.game:Game", "what a critic and a generator minimise"),
        Kind("penalty", f"{_HERE}.penalty:Penalty", "a price on the slopes of a critic"),
    ]


@hookimpl
def variata_components() -> list[Component]:
    """The model, its loss, and their parts."""
    return [
        Component("model", "gan", f"{_HERE}.model:GAN", "Generative adversarial network, conditional where asked"),
        Component("loss", "gan", f"{_HERE}.loss:AdversarialLoss", "A critic and a generator in turn"),
        Component("game", "minimax", f"{_HERE}.game:Minimax", "Jensen-Shannon divergence, as first written"),
        Component("game", "non_saturating", f"{_HERE}.game:NonSaturating", "The same, with gradients where f is sure"),
        Component("game", "least_squares", f"{_HERE}.game:LeastSquares", "Squared distances to targets"),
        Component("game", "hinge", f"{_HERE}.game:Hinge", "Total variation, by margins"),
        Component("game", "wasserstein", f"{_HERE}.game:Wasserstein", "Earth mover's distance; needs a smooth critic"),
        Component("penalty", "gradient_penalty", f"{_HERE}.penalty:GradientPenalty", "Slopes of 1 between the laws"),
        Component("penalty", "r1", f"{_HERE}.penalty:R1", "Slopes of 0 at the data"),
        Component("optimizer", "clipped", f"{_HERE}.clipping:Clipped", "Another one, then weights cut to a box"),
        Component("metric", "modes", f"{_HERE}.modes:Modes", "Modes of a mixture that samples cover"),
    ]


@hookimpl
def variata_presets() -> Path:
    """gan, dcgan, wgan_gp and others."""
    return Path(__file__).parent / "presets"
