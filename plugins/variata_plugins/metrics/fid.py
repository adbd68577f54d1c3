r"""The Frechet distance between Gaussians of the features of data and samples,

    FID = |m_1 - m_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1 S_2)^{1/2},
    tr (S_1 S_2)^{1/2} = sum_i lambda_i(S_1^{1/2} S_2 S_1^{1/2})^{1/2},

by the symmetric form, whose eigenvalues are real and not negative, in float64.

Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter (2017), GANs Trained by a Two Time-Scale Update Rule Converge to a
Local Nash Equilibrium, arXiv:1706.08500. Dowson and Landau (1982), The Frechet distance between multivariate normal
distributions. Its estimate is biased upward, by more the fewer the samples: Binkowski, Sutherland, Arbel and Gretton
(2018), Demystifying MMD GANs, arXiv:1801.01401.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import Data, Estimate, EvaluationSettings, Metric, Sampler, default

from .extractor import Extractor, as_extractor
from .inception import Inception
from .samples import compare, examples, features_of


class FID(Metric):
    """Frechet distance of features, "fid[lenet]"; 0 is best. By the features of Inception it is "fid", and by no other.
    Beside it stands that of as many training examples, which is about what a model of the true law would get.

    Args:
        extractor: of the features; in Python, any module as well.
        samples: how many are drawn; every example of the split is compared with them.
        mean: the mean of p(x | z) instead of a draw from it.
    """

    requires = Sampler

    def __init__(
        self,
        *,
        extractor: Extractor = default("extractor", "lenet"),
        samples: PositiveInt = 10_000,
        mean: bool = False,
    ) -> None:
        self.extractor, self.samples, self.mean = as_extractor(extractor), samples, mean

    def measure(self, model: Sampler, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        found = compare(model, data, settings, self.extractor, self.samples, self.mean)
        figure = {"value": frechet_distance(found.real, found.drawn), "standard_error": None, "kind": "biased"}
        note = "biased upward, by more the fewer the samples: compare at equal numbers of them"
        train = features_of(examples(data.split("train"), self.samples), self.extractor, model)
        if len(train) > 1 and settings.split != "train":
            figure["of_training_examples"] = frechet_distance(found.real, train)
            note += f"; {len(train)} training examples have {figure['of_training_examples']:.4g}"
        plain = isinstance(self.extractor, Inception) and not self.mean
        return {"fid" if plain else f"fid[{found.label}]": figure | found.notes | {"note": note}}


def frechet_distance(real: Tensor, drawn: Tensor) -> float:
    """Of features `[n, d]` and `[m, d]`, with the unbiased covariances."""
    return frechet_of_moments(*moments(real), *moments(drawn))


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[d]` and covariance `[d, d]`, in float64."""
    features = features.double()
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def frechet_of_moments(mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor) -> float:
    """The distance between two Gaussians; not negative, whatever rounding does."""
    values, vectors = torch.linalg.eigh(covariance1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariance2 @ root).clamp(min=0).sqrt().sum()
    distance = (mean1 - mean2).square().sum() + covariance1.trace() + covariance2.trace() - 2 * cross
    return max(float(distance), 0.0)
