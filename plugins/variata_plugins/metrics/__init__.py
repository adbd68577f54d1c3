"""Figures beyond the likelihood: how samples differ from data, and what codes know.

Samples are compared with data by the features of a named extractor (`extractor.py`; `pixels.py`, `pca.py`,
`lenet.py`, or a module of yours), whose name is part of the figure's: "fid[lenet]".
"""

from variata import Component, Kind, hookimpl

_HERE = "variata_plugins.metrics"


@hookimpl
def variata_kinds() -> list[Kind]:
    """The kind of what images are compared by."""
    return [Kind("extractor", f"{_HERE}.extractor:Extractor", "the features that samples and data are compared by")]


@hookimpl
def variata_components() -> list[Component]:
    """Extractors, and metrics."""
    return [
        Component("extractor", "lenet", f"{_HERE}.lenet:LeNet", "Of a small network trained on the data's labels"),
        Component("extractor", "pca", f"{_HERE}.pca:PCAExtractor", "Principal components of the training examples"),
        Component("extractor", "pixels", f"{_HERE}.pixels:Pixels", "The values themselves"),
        Component("metric", "fid", f"{_HERE}.fid:FID", "Frechet distance between features of samples and data"),
        Component("metric", "kid", f"{_HERE}.kid:KID", "Kernel distance between them, without bias"),
        Component("metric", "parzen", f"{_HERE}.parzen:Parzen", "Gaussian-kernel log-likelihood under samples"),
        Component("metric", "prdc", f"{_HERE}.prdc:PRDC", "Precision, recall, density and coverage of samples"),
    ]
