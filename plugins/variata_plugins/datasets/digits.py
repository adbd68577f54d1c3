"""The digits that come with scikit-learn: 1,797 images of 8 x 8 pixels in 17 levels.

Alpaydin and Kaynak (1998), Cascading classifiers; the test set of the UCI machine learning repository's Optical
Recognition of Handwritten Digits.
"""

from __future__ import annotations

from functools import cached_property

import torch

from variata import Data, DataSpec, Seed, Share, Split, split_rows

from .pixels import Binarize, Dequantize, Pixels, Range


class Digits(Data):
    """Embedded: nothing is downloaded.

    Args:
        binarize, scale, dequantize: what becomes of the levels (`pixels.py`).
        validation, test: examples that are held out, a number or a share.
        split_seed: of the permutation that chooses them.
    """

    def __init__(
        self,
        *,
        binarize: Binarize = "none",
        scale: Range = (0.0, 1.0),
        dequantize: Dequantize = "none",
        validation: Share = 0.1,
        test: Share = 0.2,
        split_seed: Seed = 0,
    ) -> None:
        self._pixels = Pixels(DataSpec((1, 8, 8), "levels", levels=17, classes=10), binarize, scale, dequantize)
        self._held_out, self._seed = {"validation": validation, "test": test}, split_seed
        self.spec = self._pixels.spec

    @cached_property
    def _splits(self) -> dict[str, Split]:
        from sklearn.datasets import load_digits

        flat, labels = load_digits(return_X_y=True)
        x = torch.from_numpy(flat).to(torch.uint8).reshape(-1, 1, 8, 8)
        y = torch.from_numpy(labels)
        rows = split_rows(len(x), self._held_out, self._seed)
        return {name: self._pixels.split(name, x[index], y[index]) for name, index in rows.items()}

    def split(self, name: str) -> Split:
        return self._splits[name]
