"""FID, KID and PRDC of 10,000 against 10,000 examples at 2048 features: seconds, and FID beside torchmetrics'.

Bars: FID within 20 seconds of one core; equal to torchmetrics' with the same features to 1e-3 relative. The features
are drawn: rectified Gaussians of a random covariance, like a network's last layer.

    python tests/benchmarks/fid.py            about 4 minutes
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import records
import torch
from torch import Tensor, nn

from variata_plugins.metrics.fid import frechet_distance
from variata_plugins.metrics.kid import kernel_distance
from variata_plugins.metrics.prdc import precision_recall_density_coverage

N, FEATURES, NEIGHBOURS = 10_000, 2048, 5


class Given(nn.Module):
    """Features that are there already."""

    num_features = FEATURES

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def features(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(FEATURES, FEATURES, generator=generator) / FEATURES**0.5

    def draw(scale: float) -> Tensor:
        return (scale * torch.randn(N, FEATURES, generator=generator) @ mixing).relu()

    return draw(1.0), draw(1.1)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return work(), round(time.perf_counter() - start, 2)


def torchmetrics_fid(real: Tensor, drawn: Tensor) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    theirs = FrechetInceptionDistance(feature=Given(), normalize=True)
    for x, is_real in ((real, True), (drawn, False)):
        for part in x.split(1000):
            theirs.update(part.reshape(-1, 1, 1, FEATURES), real=is_real)
    return float(theirs.compute())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    real, drawn = features(arguments.seed)
    fid, seconds = timed(lambda: frechet_distance(real, drawn))
    (kid, kid_error), kid_seconds = timed(lambda: kernel_distance(real, drawn))
    values, prdc_seconds = timed(lambda: precision_recall_density_coverage(real, drawn, NEIGHBOURS))
    figures: dict[str, Any] = {
        "seed": arguments.seed,
        "fid": round(fid, 6),
        "seconds": seconds,
        "kid": round(kid, 8),
        "kid_standard_error": round(kid_error, 8),
        "kid_seconds": kid_seconds,
        "prdc": {name: round(float(value.mean()), 4) for name, value in values.items()},
        "prdc_seconds": prdc_seconds,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other, other_seconds = timed(lambda: torchmetrics_fid(real, drawn))
        figures["torchmetrics"] = {
            "fid": round(other, 6),
            "seconds": other_seconds,
            "relative_difference": float(f"{abs(fid - other) / other:.2g}"),
        }
    except ImportError as error:
        figures["torchmetrics"] = f"not compared: {error}"
    records.write("fid", figures | {"bars": {"seconds": 20, "relative_difference": 1e-3}})


if __name__ == "__main__":
    main()
