"""Deterministic maps of arrays: what encoders and decoders are made of.

A fully connected network (`mlp.py`), the same with gates (`gated_mlp.py`) or with the greatest of some maps
(`maxout.py`), a convolutional one and its transpose (`conv.py`), residual blocks (`resnet.py`). How a condition enters
them is in `conditioning.py`, what stands between their layers in `activations.py` and `normalization.py`.
"""

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The networks."""
    here = "variata_plugins.networks"
    return [
        Component("network", "mlp", f"{here}.mlp:MLP", "Fully connected layers"),
        Component("network", "gated_mlp", f"{here}.gated_mlp:GatedMLP", "Fully connected layers with gates"),
        Component("network", "maxout", f"{here}.maxout:Maxout", "Fully connected layers, the greatest of some maps"),
        Component("network", "conv", f"{here}.conv:Conv", "Strided convolutions of images, residual where asked"),
        Component("network", "conv_transpose", f"{here}.conv:ConvTranspose", "Its transpose: from anything to images"),
        Component("network", "resnet", f"{here}.resnet:ResNet", "Residual blocks: of images, to images, of vectors"),
    ]
