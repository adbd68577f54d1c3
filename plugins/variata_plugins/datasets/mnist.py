"""MNIST: 60,000 images of digits to train on and 10,000 to test with, 28 x 28 pixels of 256 levels.

LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition. Other data sets in
the same four files (Fashion-MNIST, KMNIST) are read from a folder with `verify: false`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from variata import Data, DataError, DataSpec, Seed, Share, Split, split_rows

from .idx import read_idx
from .pixels import Binarize, Dequantize, Pixels, Range

# md5 of each file as it lies on the servers, and unpacked.
FILES = {
    "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
}
SERVERS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")


class MNIST(Data):
    """From a folder, or downloaded once with its checksums.

    Args:
        root: a folder that holds the four IDX files, plain or gzip, or a folder `mnist` that does; by default the one
            that the environment variable VARIATA_DATA names, else they are downloaded to the user's cache.
        verify: hold the files to MNIST's checksums.
        binarize, scale, dequantize: what becomes of the levels (`pixels.py`).
        validation: training images that are held out, a number or a share; the published figures train on all.
        split_seed: of the permutation that chooses them.

    Raises:
        DataError: files that are missing, damaged, or do not fit each other.
    """

    def __init__(
        self,
        *,
        root: Path | None = None,
        verify: bool = True,
        binarize: Binarize = "none",
        scale: Range = (0.0, 1.0),
        dequantize: Dequantize = "none",
        validation: Share = 0,
        split_seed: Seed = 0,
    ) -> None:
        arrays = {name: read_idx(path, FILES[name][1] if verify else None) for name, path in _files(root).items()}
        x, y = _pair(arrays, "train")
        test_x, test_y = _pair(arrays, "t10k")
        if test_x.shape[1:] != x.shape[1:]:
            raise DataError(f"training images are {list(x.shape[1:])} and test images {list(test_x.shape[1:])}")
        classes = int(max(y.max(), test_y.max())) + 1
        pixels = Pixels(
            DataSpec(tuple(x.shape[1:]), "levels", levels=256, classes=classes), binarize, scale, dequantize
        )
        self.spec = pixels.spec
        rows = split_rows(len(x), {"validation": validation}, split_seed)
        self._splits = {name: pixels.split(name, x[index], y[index]) for name, index in rows.items()}
        self._splits["test"] = pixels.split("test", test_x, test_y)

    def split(self, name: str) -> Split:
        return self._splits[name]


def _pair(arrays: dict[str, np.ndarray], part: str) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = arrays[f"{part}-images-idx3-ubyte"], arrays[f"{part}-labels-idx1-ubyte"]
    if images.ndim != 3 or labels.shape != images.shape[:1] or not len(images):
        raise DataError(f"{part}: images {list(images.shape)} and labels {list(labels.shape)} do not fit each other")
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels).long()


def _files(root: Path | None) -> dict[str, Path]:
    """Path of each of the four files; downloads them where no folder has them."""
    named = root or (Path(os.environ["VARIATA_DATA"]) if os.environ.get("VARIATA_DATA") else None)
    if named is None:
        return _downloaded("neither data.root nor VARIATA_DATA names a folder that holds it")
    folders = [folder for folder in (named, named / "mnist") if any(_found(folder, name) for name in FILES)]
    if not folders and root is None:
        return _downloaded(f"{named} (VARIATA_DATA) does not hold it")
    if not folders:
        raise DataError(f"{named}: holds none of MNIST's files ({', '.join(FILES)}, each plain or .gz); set data.root")
    paths = {name: _found(folders[0], name) for name in FILES}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        raise DataError(f"{folders[0]}: lacks {' and '.join(missing)} (plain or .gz)")
    return {name: path for name, path in paths.items() if path is not None}


def _found(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _downloaded(reason: str) -> dict[str, Path]:
    import pooch

    cache = Path(pooch.os_cache("variata")) / "mnist"
    paths = {}
    for name, (packed, _) in FILES.items():
        problems = []
        for server in SERVERS:
            try:
                file = pooch.retrieve(f"{server}{name}.gz", known_hash=f"md5:{packed}", fname=f"{name}.gz", path=cache)
            except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
                problems.append(f"{type(error).__name__} from {server}")
            else:
                paths[name] = Path(file)
                break
        if name not in paths:
            remedy = f"put {', '.join(FILES)} (plain or .gz) in a folder, and set data.root or VARIATA_DATA to it"
            raise DataError(f"MNIST cannot be downloaded ({'; '.join(problems)}), and {reason}: {remedy}")
    return paths
