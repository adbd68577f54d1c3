"""Figures beyond the likelihood: how samples differ from data, and what codes know.

Samples are compared with data by the features of a named extractor (`extractor.py`; `pixels.py`, `pca.py`,
`lenet.py`, `inception.py`, or a module of yours), whose name is part of the figure's: "fid[lenet]"; a network says
of which classes they are (`classes.py`). Codes are asked for the labels (`probes.py`) and, of data that is made from
known factors, for those (`information.py`, `sap.py`, `dci.py`, `fixed_factor.py`). The likelihood of a latent-variable
model is estimated a second time, without its q (`ais.py`, `latent_annealing.py`, `hmc.py`). `implicit.py` chooses for
a model without a likelihood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from variata import Component, Kind, hookimpl

if TYPE_CHECKING:
    from variata import MetricsContext

_HERE = "variata_plugins.metrics"


@hookimpl
def variata_kinds() -> list[Kind]:
    """The kind of what images are compared by."""
    return [Kind("extractor", f"{_HERE}.extractor:Extractor", "the features that samples and data are compared by")]


@hookimpl
def variata_components() -> list[Component]:
    """Extractors, and metrics."""
    return [
        Component("extractor", "inception", f"{_HERE}.inception:Inception", "Inception-v3, of torch-fidelity"),
        Component("extractor", "lenet", f"{_HERE}.lenet:LeNet", "Of a small network trained on the data's labels"),
        Component("extractor", "pca", f"{_HERE}.pca:PCAExtractor", "Principal components of the training examples"),
        Component("extractor", "pixels", f"{_HERE}.pixels:Pixels", "The values themselves"),
        Component(
            "metric", "beta_vae_score", f"{_HERE}.fixed_factor:BetaVAEScore", "Is the fixed factor told linearly?"
        ),
        Component("metric", "classes", f"{_HERE}.classes:Classes", "Which classes samples are of, and were asked for"),
        Component("metric", "dci", f"{_HERE}.dci:DCI", "Disentanglement, completeness, informativeness"),
        Component("metric", "factor_vae_score", f"{_HERE}.fixed_factor:FactorVAEScore", "Is it told by one dimension?"),
        Component("metric", "fid", f"{_HERE}.fid:FID", "Frechet distance between features of samples and data"),
        Component("metric", "kid", f"{_HERE}.kid:KID", "Kernel distance between them, without bias"),
        Component("metric", "knn", f"{_HERE}.probes:KNN", "Accuracy by nearest neighbours among the codes"),
        Component("metric", "latent_ais", f"{_HERE}.ais:LatentAIS", "log p(x) annealed from p(z) to p(z | x)"),
        Component(
            "metric", "linear_probe", f"{_HERE}.probes:LinearProbe", "Accuracy of logistic regression on the codes"
        ),
        Component("metric", "mig", f"{_HERE}.information:MIG", "Mutual information gap between codes and factors"),
        Component(
            "metric", "modularity", f"{_HERE}.information:Modularity", "One factor for each dimension of the codes?"
        ),
        Component("metric", "nearest_training", f"{_HERE}.nearest:NearestTraining", "Are samples copies of examples?"),
        Component("metric", "parzen", f"{_HERE}.parzen:Parzen", "Gaussian-kernel log-likelihood under samples"),
        Component("metric", "prdc", f"{_HERE}.prdc:PRDC", "Precision, recall, density and coverage of samples"),
        Component("metric", "reconstruction_error", f"{_HERE}.reconstruction:ReconstructionError", "MSE, PSNR, SSIM"),
        Component(
            "metric", "sample_statistics", f"{_HERE}.statistics:SampleStatistics", "Means, spread and repetitions"
        ),
        Component("metric", "sap", f"{_HERE}.sap:SAP", "Separated attribute predictability of factors"),
    ]


@hookimpl
def variata_default_metrics(context: MetricsContext) -> list[str]:
    """Of models that only sample, or only reconstruct."""
    from .implicit import default_metrics

    return default_metrics(context)
