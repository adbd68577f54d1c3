r"""f(x): the 2,048 pooled features of the Inception network that "FID" means, through the package torch-fidelity.

    x in [low, high]  ->  round(255 (x - low) / (high - low)), grey in three channels  ->  299 x 299  ->  2048

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna (2016), Rethinking the Inception Architecture for Computer Vision,
arXiv:1512.00567, with the weights of December 2015, converted by torch-fidelity. They are neither installed nor
downloaded here: they have to lie in torch's cache.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from variata import Data, DataSpec, Unsupported

from .extractor import Extractor

_LAYER, _ROWS = "2048", 50
_ELSE = "use another extractor (lenet, pca, pixels), or"


class Inception(Extractor):
    """Features of Inception-v3; a FID by them is "fid", and nothing else is.

    Raises:
        Unsupported: torch-fidelity or its weights are not there, or the data is not images of bounded values.
    """

    name = "inception"

    def fit(self, data: Data) -> dict[str, Any]:
        self.spec: DataSpec = data.spec
        bounded = math.isfinite(self.spec.low) and math.isfinite(self.spec.high)
        if not self.spec.is_image or self.spec.shape[0] not in (1, 3) or not bounded:
            raise Unsupported(
                f"the extractor inception looks at grey or coloured images, and this data is {self.spec.describe()} "
                f"of shape {list(self.spec.shape)}: use pca or pixels"
            )
        try:
            from torch_fidelity import (  # pyright: ignore[reportMissingImports]
                feature_extractor_inceptionv3 as inception,
            )
        except ImportError as error:
            reason = f"the extractor inception needs torch-fidelity, which cannot be imported ({error})"
            raise Unsupported(f"{reason}: {_ELSE} pip install torch-fidelity torchvision") from error
        url = inception.URL_INCEPTION_V3
        file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        if not file.is_file():
            raise Unsupported(f"the extractor inception needs its weights: {_ELSE} download {url} to {file}")
        self.network = inception.FeatureExtractorInceptionV3("inception-v3-compat", [_LAYER]).requires_grad_(False)
        return {"weights": file.name}

    def forward(self, x: Tensor) -> Tensor:
        levels = 255 * (x - self.spec.low) / (self.spec.high - self.spec.low)
        colours = levels.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)
        return torch.cat([self.network(part)[0] for part in colours.split(_ROWS)])
