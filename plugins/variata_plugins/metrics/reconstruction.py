r"""How near reconstructions decode(encode(x)) come, with R = high - low of the data's values:

    MSE = mean (x - x')^2        PSNR = 10 log10(R^2 / MSE), of each image, at most 100 dB
    SSIM = mean over windows of  (2 m m' + c1) (2 s_xx' + c2) / ((m^2 + m'^2 + c1) (s^2 + s'^2 + c2)),

with means, variances and covariance under a Gaussian window of 11 x 11 pixels and standard deviation 1.5,
c1 = (0.01 R)^2, c2 = (0.03 R)^2.

Wang, Bovik, Sheikh and Simoncelli (2004), Image quality assessment: from error visibility to structural similarity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from variata import Autoencoder, Data, DataError, Estimate, EvaluationSettings, Metric, estimate, stage

from .samples import device_of

_WINDOW, _SPREAD, _MOST_DECIBELS = 11, 1.5, 100.0


class ReconstructionError(Metric):
    """ "reconstruction_mse" for each element; "reconstruction_psnr" in decibels, where values are bounded;
    "reconstruction_ssim" for images, whose window is as large as a smaller image allows and stands in the notes."""

    requires = Autoencoder

    def measure(self, model: Autoencoder, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        split, device, spec = data.split(settings.split), device_of(model), data.spec
        if not len(split):
            raise DataError(f"the split {settings.split} has no examples")
        span, window = spec.high - spec.low, _WINDOW
        if spec.is_image:
            window = min(_WINDOW, *(side - 1 + side % 2 for side in spec.shape[1:]))
        errors, similarities, advance = [], [], stage("reconstructing", len(split))
        for batch in split.batches(settings.batch_size):
            x, y = batch.x.to(device), None if batch.y is None else batch.y.to(device)
            other = model.reconstruct(x, y)
            errors.append((x - other).double().square().flatten(1).mean(1).cpu())
            if spec.is_image and math.isfinite(span):
                similarities.append(structural_similarity(x, other, span, window).cpu())
            advance(len(x))
        mse = torch.cat(errors)
        found = {"reconstruction_mse": estimate(mse)}
        if math.isfinite(span):
            psnr = (10 * (span**2 / mse).log10()).clamp(max=_MOST_DECIBELS)
            found["reconstruction_psnr"] = estimate(psnr)
        if similarities:
            found["reconstruction_ssim"] = estimate(torch.cat(similarities), window=window)
        return {name: figure | {"split": settings.split} for name, figure in found.items()}


def structural_similarity(x: Tensor, other: Tensor, span: float, window: int = _WINDOW) -> Tensor:
    """SSIM of each pair of images `[n, channels, height, width]`, over the windows that lie inside; `[n]`, float64."""
    place = torch.arange(window, dtype=torch.float64, device=x.device) - (window - 1) / 2
    weight = (-place.square() / (2 * _SPREAD**2)).exp()
    kernel = torch.outer(weight, weight)
    kernel = (kernel / kernel.sum())[None, None]

    def mean(images: Tensor) -> Tensor:
        return conv2d(images.flatten(0, 1)[:, None], kernel).unflatten(0, images.shape[:2])

    x, other = x.double(), other.double()
    m1, m2 = mean(x), mean(other)
    v1, v2, v12 = mean(x * x) - m1 * m1, mean(other * other) - m2 * m2, mean(x * other) - m1 * m2
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    similarity = (2 * m1 * m2 + c1) * (2 * v12 + c2) / ((m1 * m1 + m2 * m2 + c1) * (v1 + v2 + c2))
    return similarity.flatten(1).mean(1)
