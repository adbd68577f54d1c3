r"""f(x) = V^T (x - m), with m the mean and V the first k principal components of the training examples.

Pearson (1901), On lines and planes of closest fit to systems of points in space.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import ConfigError, Data, Problem

from .extractor import Extractor

_BLOCK = 1000


class PCAExtractor(Extractor):
    """Principal components; named by their number, "pca50".

    Args:
        components: k.
        examples: training examples that they are fitted to, the first ones, at most.

    Raises:
        ConfigError: more components than the examples have dimensions, or than there are examples.
    """

    mean: Tensor
    directions: Tensor

    def __init__(self, *, components: PositiveInt = 50, examples: PositiveInt = 10_000) -> None:
        super().__init__()
        self.components, self.examples, self.name = components, examples, f"pca{components}"

    def fit(self, data: Data) -> dict[str, Any]:
        from sklearn.decomposition import PCA

        blocks = islice(data.split("train").batches(_BLOCK), -(-self.examples // _BLOCK))
        x = torch.cat([batch.x.flatten(1) for batch in blocks])[: self.examples]
        most = min(x.shape)
        if self.components > most:
            raise ConfigError(Problem(f"pca has at most {most} components here (got {self.components}): ask for fewer"))
        found = PCA(self.components, random_state=0).fit(x.numpy())
        self.register_buffer("mean", torch.from_numpy(found.mean_).to(x.dtype))
        self.register_buffer("directions", torch.from_numpy(found.components_).to(x.dtype))
        return {"explained_variance": float(found.explained_variance_ratio_.sum())}

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.mean) @ self.directions.T
