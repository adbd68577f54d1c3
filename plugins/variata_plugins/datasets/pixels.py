r"""What becomes of grey values before a model sees them, and what their likelihoods are then densities of.

    binarize    none       values as they are
                dynamic    training draws x ~ Bernoulli(grey) afresh each time; what is held out is drawn once
                static     every split is drawn once (not the published file of binarised digits, hence `static[777]`)
                threshold  x = 1 where grey >= 1/2
    scale       [low, high], the values of black and white
    dequantize  uniform    x = low + (high - low) (level + u) / levels,  u ~ U(0, 1): numbers with a density

Salakhutdinov and Murray (2008), On the quantitative analysis of deep belief networks (dynamic binarisation). Theis,
van den Oord and Bethge (2016), A note on the evaluation of generative models, arXiv:1511.01844 (dequantisation).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from variata import ConfigError, DataSpec, Problem, Split

Binarize = Literal["none", "dynamic", "static", "threshold"]
Dequantize = Literal["none", "uniform"]
Range = tuple[float, float]

NOISE_SEED = 777
_SEED_OF = {"test": NOISE_SEED, "validation": NOISE_SEED + 1, "train": NOISE_SEED + 2}
_CHUNK = 1 << 24


class Pixels:
    """Turns stored values into what models see.

    Args:
        source: what is stored: integers 0 .. levels - 1 (support "levels"), numbers from 0 to 1 ("interval"), or
            values to be left alone.
        binarize, scale, dequantize: as above.

    Raises:
        ConfigError: options that do not fit each other, or the values.
    """

    def __init__(
        self, source: DataSpec, binarize: Binarize = "none", scale: Range = (0.0, 1.0), dequantize: Dequantize = "none"
    ) -> None:
        self.source, self.binarize, self.dequantize = source, binarize, dequantize
        self.low, self.high = scale
        grey = source.support in ("levels", "interval")
        changed = {
            "binarize": binarize != "none",
            "scale": tuple(scale) != (0.0, 1.0),
            "dequantize": dequantize != "none",
        }
        asked = [name for name, is_asked in changed.items() if is_asked]
        if asked and not grey:
            raise ConfigError(
                Problem(f"{asked[0]} is for grey values, and this data is {source.describe()}: remove it", "")
            )
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(Problem(f"scale must be [low, high] with low < high (got {list(scale)})"))
        if changed["binarize"] and len(asked) > 1:
            raise ConfigError(Problem(f"binarised data is 0 and 1: remove {asked[1]}, or set binarize to none"))
        if changed["dequantize"] and source.support != "levels":
            raise ConfigError(Problem("dequantize is for levels, and this data is continuous: remove it"))

    @property
    def spec(self) -> DataSpec:
        """What the data is afterwards."""
        source = self.source
        if self.binarize != "none":
            name = f"static[{NOISE_SEED}]" if self.binarize == "static" else self.binarize
            return dataclasses.replace(
                source, support="binary", levels=2, measure="counting", transform=f"{name} binarisation"
            )
        if source.support not in ("levels", "interval"):
            return source
        scaled = dataclasses.replace(source, low=self.low, high=self.high)
        where = f"[{self.low:g}, {self.high:g}]"
        if self.dequantize == "uniform":
            transform = f"uniform dequantisation of {source.levels} levels to {where}"
            return dataclasses.replace(scaled, support="interval", measure="lebesgue", transform=transform)
        what = f"{source.levels} levels" if source.support == "levels" else "values"
        return dataclasses.replace(scaled, transform=f"{what} scaled to {where}")

    def split(self, name: str, values: Any, labels: Any = None) -> Split:
        """A split of stored values `[n, *event]`; noise is drawn once and kept, except in training."""
        random = self.binarize in ("dynamic", "static") or self.dequantize == "uniform"
        if not random or (name == "train" and self.binarize != "static"):
            return Split(values, labels, self._fresh)
        return Split(self._fixed(values, _SEED_OF[name]), labels, _floating)

    def _fresh(self, stored: Tensor) -> Tensor:
        return self._seen(stored, lambda x: torch.rand_like(x))

    def _fixed(self, values: Any, seed: int) -> Tensor:
        """All of them at once, with noise of its own seed: binary values as bytes, others as floats."""
        generator = torch.Generator().manual_seed(seed)
        size = max(1, _CHUNK // max(1, math.prod(values.shape[1:])))
        parts = []
        for start in range(0, len(values), size):
            stored = values[np.arange(start, min(start + size, len(values)))]
            stored = stored if isinstance(stored, Tensor) else torch.from_numpy(np.ascontiguousarray(stored))
            seen = self._seen(stored, lambda x: torch.rand(x.shape, generator=generator))
            parts.append(seen.to(torch.uint8) if self.spec.support == "binary" else seen)
        return torch.cat(parts) if parts else torch.empty(0, *self.source.shape)

    def _seen(self, stored: Tensor, noise: Any) -> Tensor:
        x = stored.to(torch.get_default_dtype())
        levels = self.source.levels
        if self.dequantize == "uniform":
            assert levels is not None
            return self.low + (self.high - self.low) * ((x + noise(x)) / levels)
        if self.source.support == "levels":
            assert levels is not None
            x = x / (levels - 1)
        if self.binarize in ("dynamic", "static"):
            return noise(x).lt_(x)
        if self.binarize == "threshold":
            return (x >= 0.5).to(x.dtype)
        return x if (self.low, self.high) == (0.0, 1.0) else self.low + (self.high - self.low) * x


def _floating(stored: Tensor) -> Tensor:
    return stored.to(torch.get_default_dtype())
