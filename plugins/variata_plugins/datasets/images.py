"""A folder of image files, read when they are asked for: it need not fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from variata import Data, DataError, DataSpec, Rows, Seed, Share, Split, split_rows

from .pixels import Binarize, Dequantize, Pixels, Range

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
_FOLDERS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
_MODES = {"grey": ("L", 1), "rgb": ("RGB", 3)}
Side = Annotated[int, Field(ge=1, le=4096)]


class ImageFiles(Rows):
    """Image files, each cropped about its centre to the shape of what is asked for, and scaled: `[n, c, h, w]`
    bytes."""

    def __init__(self, files: Sequence[Path], size: tuple[int, int], mode: str, channels: int) -> None:
        self.files, self.size, self.mode = list(files), size, mode
        self.shape = (len(self.files), channels, *size)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.empty((0, *self.shape[1:]), np.uint8)
        return np.stack([self._read(self.files[row]) for row in rows])

    def _read(self, file: Path) -> np.ndarray:
        try:
            with Image.open(file) as image:
                height, width = self.size
                fitted = ImageOps.fit(image.convert(self.mode), (width, height), Image.Resampling.BILINEAR)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
            raise DataError(f"{file}: is no image that can be read ({error}); mend or remove it") from error
        return np.asarray(fitted, np.uint8).reshape(*self.size, -1).transpose(2, 0, 1)


class ImageFolder(Data):
    """Images in a folder, with a label for each folder that they are in.

    `ROOT/*.png` has no labels, `ROOT/CLASS/*.png` has; `ROOT/train/...`, `ROOT/validation/...`, `ROOT/test/...` are
    splits, and what is missing of them is held out from the training images. Classes are numbered by their names'
    order.

    Args:
        root: the folder.
        size: height and width, or one number for both.
        colour: "rgb" or "grey".
        binarize, scale, dequantize: what becomes of the 256 levels (`pixels.py`).
        validation, test: images that are held out, a number or a share.
        split_seed: of the permutation that chooses them.

    Raises:
        DataError: there is no image, or the splits have other classes than the training images.
    """

    def __init__(
        self,
        *,
        root: Path,
        size: Side | tuple[Side, Side],
        colour: Literal["rgb", "grey"] = "rgb",
        binarize: Binarize = "none",
        scale: Range = (0.0, 1.0),
        dequantize: Dequantize = "none",
        validation: Share = 0.1,
        test: Share = 0.1,
        split_seed: Seed = 0,
    ) -> None:
        height, width = (size, size) if isinstance(size, int) else size
        mode, channels = _MODES[colour]
        found = {name: _listed(folder) for name, folder in _splits(root).items()}
        classes = sorted({name for _, name in found["train"] if name})
        for split, files in found.items():
            if unknown := sorted({name for _, name in files} - {name for _, name in found["train"]}):
                what = f"{unknown[0]!r}, a class that no training image has" if unknown[0] else "images without a class"
                raise DataError(f"{root}: its {split} part holds {what}")
        source = DataSpec((channels, height, width), "levels", levels=256, classes=len(classes) or None)
        pixels = Pixels(source, binarize, scale, dequantize)
        self.spec, self.classes = pixels.spec, classes
        amounts = {"validation": validation, "test": test}
        held = split_rows(len(found["train"]), {n: a for n, a in amounts.items() if n not in found}, split_seed)
        chosen = {name: [found["train"][row] for row in rows.tolist()] for name, rows in held.items()}
        chosen |= {name: files for name, files in found.items() if name != "train"}
        self._splits = {
            name: pixels.split(
                name,
                ImageFiles([file for file, _ in files], (height, width), mode, channels),
                torch.tensor([classes.index(label) for _, label in files]) if classes else None,
            )
            for name, files in chosen.items()
        }

    def split(self, name: str) -> Split:
        return self._splits[name]


def _splits(root: Path) -> dict[str, Path]:
    """The folder of each split; without a folder for training, the whole is that."""
    found = {
        name: root / folder for name, folders in _FOLDERS.items() for folder in folders if (root / folder).is_dir()
    }
    return found if "train" in found else {"train": root}


def _listed(folder: Path) -> list[tuple[Path, str]]:
    """Every image with the name of its class, "" where there is none, in the order of their names."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    files = [(file, "") for file in sorted(folder.iterdir()) if file.suffix.lower() in _ENDINGS]
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        files += [(file, inner.name) for file in sorted(inner.rglob("*")) if file.suffix.lower() in _ENDINGS]
    if not files:
        raise DataError(f"{folder}: holds no image ({', '.join(sorted(_ENDINGS))})")
    if len({bool(label) for _, label in files}) > 1:
        loose = next(file for file, label in files if not label)
        raise DataError(f"{folder}: {loose.name} lies beside folders of classes; move it into one, or take them out")
    return files
