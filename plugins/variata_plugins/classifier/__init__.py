r"""Classifiers: log p(y | x) from any network, by maximum likelihood.

    minimise  -log p(y | x)  over the examples whose label is known

What ladder networks and semi-supervised autoencoders are held against: with `data.labels` the same few labels are
known to all of them. Here: the model (`model.py`) and the loss (`cross_entropy.py`).

Bishop (2006), Pattern Recognition and Machine Learning, section 4.3.
"""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """A classifier and its loss."""
    here = "variata_plugins.classifier"
    return [
        Component("model", "classifier", f"{here}.model:NetworkClassifier", "Classes from any network"),
        Component("loss", "cross_entropy", f"{here}.cross_entropy:CrossEntropy", "-log p(y | x) of what is labelled"),
    ]


@hookimpl
def variata_presets() -> Path:
    """The preset classifier."""
    return Path(__file__).parent / "presets"
