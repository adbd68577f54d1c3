"""f(x) = x, flattened: distances between values, which know nothing of what an image shows."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from variata import Data

from .extractor import Extractor


class Pixels(Extractor):
    """The values themselves."""

    name = "pixels"

    def __init__(self) -> None:
        super().__init__()

    def fit(self, data: Data) -> dict[str, Any]:
        return {}

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)
