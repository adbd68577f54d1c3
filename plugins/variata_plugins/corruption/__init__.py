"""Corruption processes C(x~ | x): what is done to an example, or to hidden units, before a model has to restore it.

Additive normal noise (`gaussian.py`), elements that are hidden (`masking.py`), elements at their least or greatest
value (`salt_and_pepper.py`); each element meets its fate independently of the others. Denoising autoencoders and
generative stochastic networks walk by them.

Vincent, Larochelle, Lajoie, Bengio and Manzagol (2010), Stacked Denoising Autoencoders: Learning Useful Representations
in a Deep Network with a Local Denoising Criterion, section 3.3.
"""

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The corruptions."""
    here = "variata_plugins.corruption"
    return [
        Component("corruption", "gaussian", f"{here}.gaussian:GaussianCorruption", "Adds normal noise"),
        Component("corruption", "masking", f"{here}.masking:Masking", "Hides some of the elements"),
        Component(
            "corruption", "salt_and_pepper", f"{here}.salt_and_pepper:SaltAndPepper", "Sets some to the least or most"
        ),
    ]
