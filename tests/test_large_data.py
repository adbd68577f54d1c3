"""Data that is read as it is needed: folders of images, shards of arrays; by workers, in an order that can be
resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import variata
from variata import DataError, Rows, Split
from variata.checkpoint import read_tensors
from variata.processes import World
from variata.training.feeding import Feed
from variata_plugins.datasets.images import ImageFolder
from variata_plugins.datasets.shards import ShardedArrays

CPU = torch.device("cpu")


def draw(folder: Path, n: int, first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + n):
        picture = np.full((6, 9, 3), i, np.uint8)
        picture[0] = 255
        Image.fromarray(picture).save(folder / f"{i:03}.png")


@pytest.fixture
def pictures(tmp_path) -> Path:
    for number, name in enumerate(("cats", "dogs")):
        draw(tmp_path / "pictures" / name, 20, 100 * number)
    return tmp_path / "pictures"


def everything(split: Split) -> tuple[torch.Tensor, torch.Tensor | None]:
    batch = split.batch(torch.arange(len(split)))
    return batch.x, batch.y


def test_images_are_what_the_files_hold(pictures):
    data = ImageFolder(root=pictures, size=(6, 9))
    assert (data.spec.shape, data.spec.classes, data.spec.describe()) == (
        (3, 6, 9),
        2,
        "of 256 levels (grey, not binarised)",
    )
    assert [len(data.split(name)) for name in ("train", "validation", "test")] == [32, 4, 4]
    seen = set()
    for name in ("train", "validation", "test"):
        x, y = everything(data.split(name))
        levels = (x * 255).round().int()
        assert (levels[:, :, 0] == 255).all()
        assert (levels[:, :, 1:] == levels[:, :1, 1:2, :1]).all()
        of_file = levels[:, 0, 1, 0]
        assert torch.equal(of_file // 100, y.int())
        seen |= set(of_file.tolist())
    assert seen == {*range(20), *range(100, 120)}


def test_images_are_cropped_about_the_centre_and_scaled(pictures):
    data = ImageFolder(root=pictures, size=3, colour="grey")
    assert data.spec.shape == (1, 3, 3)
    x, _ = everything(data.split("train"))
    assert x.shape == (32, 1, 3, 3)


def test_folders_of_splits_are_the_splits(tmp_path):
    for name, n in (("train", 8), ("val", 3)):
        draw(tmp_path / name / "a", n)
        draw(tmp_path / name / "b", n)
    data = ImageFolder(root=tmp_path, size=4, test=2)
    assert [len(data.split(name)) for name in ("train", "validation", "test")] == [14, 6, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "there is no such folder"),
        (lambda root: root.mkdir(), "holds no image"),
        (lambda root: (draw(root, 2), draw(root / "cats", 2)), "lies beside folders of classes"),
        (lambda root: (draw(root / "train" / "a", 9), draw(root / "test" / "b", 2)), "'b', a class that no training"),
    ],
)
def test_folders_that_are_no_data_are_refused(tmp_path, make, message):
    make(tmp_path / "root")
    with pytest.raises(DataError, match=message):
        ImageFolder(root=tmp_path / "root", size=4)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_file_that_is_no_image_is_named(pictures, tmp_path, command, workers):
    for file in sorted((pictures / "cats").iterdir())[:19]:
        file.write_bytes(file.read_bytes()[:40])
    words = [
        f"data={{use: images, root: {pictures}, size: 4, colour: grey, binarize: threshold}}",
        f"train.workers={workers}",
    ]
    status, _, err = command("train", "vae", *words, "--run", tmp_path / "r", "-q")
    assert status == 2, err
    assert "is no image that can be read" in err
    assert "Traceback" not in err


@pytest.fixture
def shards(tmp_path) -> Path:
    start = 0
    (tmp_path / "shards").mkdir()
    for number, n in enumerate((7, 1, 12, 9, 5, 30, 2, 8)):
        x = np.arange(start, start + n, dtype=np.uint8)[:, None].repeat(3, 1)
        np.savez_compressed(tmp_path / "shards" / f"{number}.npz", x=x, y=x[:, 0] % 4)
        start += n
    return tmp_path / "shards"


def test_shards_are_one_array(shards):
    data = ShardedArrays(path=shards, y="y")
    assert (data.spec.shape, data.spec.classes) == ((3,), 4)
    found = []
    for name in ("train", "validation", "test"):
        x, y = everything(data.split(name))
        rows = (x[:, 0] * 255).round().long()
        assert torch.equal(rows % 4, y.long())
        assert torch.equal(x, x[:, :1].expand(-1, 3))
        found += rows.tolist()
    assert sorted(found) == list(range(74))


def test_an_epoch_of_shards_keeps_to_a_few_files(shards):
    split = ShardedArrays(path=shards).split("train")
    order = split.order(torch.Generator().manual_seed(0))
    again = split.order(torch.Generator().manual_seed(0))
    other = split.order(torch.Generator().manual_seed(1))
    assert torch.equal(order, again)
    assert not torch.equal(order, other)
    assert sorted(order.tolist()) == list(range(len(split)))
    files = split.x._shard[order.numpy()]
    half = [set(files[: len(set(files))]), set(files)]
    assert len(half[0]) <= 4 < len(half[1])


def test_floats_in_shards_are_what_all_of_them_are(tmp_path):
    for number, scale in enumerate((1.0, 1.0, 3.0)):
        np.savez(tmp_path / f"{number}.npz", x=np.linspace(0, scale, 20, dtype=np.float32).reshape(10, 2))
    assert ShardedArrays(path=tmp_path).spec.support == "real"
    (tmp_path / "2.npz").unlink()
    assert ShardedArrays(path=tmp_path).spec.support == "interval"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: [file.unlink() for file in folder.iterdir()], "holds no npz file"),
        (lambda folder: (folder / "3.npz").write_bytes(b"no"), "3.npz: cannot be read"),
        (lambda folder: np.savez(folder / "3.npz", z=np.zeros(3)), "3.npz: holds no array 'x'"),
        (lambda folder: np.savez(folder / "3.npz", x=np.zeros((3, 4), np.uint8)), r"3.npz: its 'x' is uint8 \[4\]"),
        (lambda folder: np.savez(folder / "3.npz", x=np.array([{}])), "3.npz: 'x' is no array of numbers"),
    ],
)
def test_shards_that_do_not_fit_are_named(shards, break_it, message):
    break_it(shards)
    with pytest.raises(DataError, match=message):
        ShardedArrays(path=shards)


class Squares(Rows):
    """Numbers that are made when they are read, with noise."""

    shape = (50, 2)

    def __getitem__(self, rows):
        return np.stack([rows, rows**2], 1).astype(np.float32)


def noisy(x: torch.Tensor) -> torch.Tensor:
    return x + torch.rand_like(x)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on a machine of one core
def test_workers_read_the_same_rows_and_draws_wherever_training_begins():
    split = Split(Squares(), transform=noisy)

    def read(start: int, rank: int = 0, workers: int = 2):
        return list(Feed(split, 8, 3, World(rank, 2), CPU, workers).batches(start, 15))

    whole, late = read(0), read(9)
    for (one, *_), (other, *_) in zip(whole[9:], late, strict=True):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.index, other.index)
    assert Feed(split, 8, 3, World(), CPU).workers in (1, 2)
    plain = read(0, workers=0)
    for (one, *_), (other, *_) in zip(whole, plain, strict=True):
        assert torch.equal(one.index, other.index)
        assert torch.equal(one.x.floor()[:, 0], other.x.floor()[:, 0])
    beside = read(0, rank=1)
    assert not set(whole[0][0].index.tolist()) & set(beside[0][0].index.tolist())
    assert not torch.equal(whole[0][0].x % 1, beside[0][0].x % 1)


@pytest.mark.slow
def test_training_from_files_resumes_exactly(shards, pictures, tmp_path, monkeypatch, without_pictures):
    from variata.training import Loop

    class Stopped(BaseException):
        pass

    def until(self, *arguments, step=Loop.step):
        step(self, *arguments)
        if self.clock.step == 13:
            raise Stopped

    for name, data in (
        ("images", {"root": str(pictures), "size": 8, "colour": "grey"}),
        ("shards", {"path": str(shards)}),
    ):
        settings = {"data": {"use": name, "binarize": "dynamic", **data}, "model.latent": 2, "train.batch_size": 7}
        settings |= {"train.epochs": 4, "train.checkpoint_every": 5}
        variata.train("vae", settings, run=tmp_path / name / "whole")
        with monkeypatch.context() as patch:
            patch.setattr(Loop, "step", until)
            with pytest.raises(Stopped):
                variata.train("vae", settings, run=tmp_path / name / "cut")
        variata.train(tmp_path / name / "cut", resume=True)
        one, other = (read_tensors(tmp_path / name / part / "model.safetensors") for part in ("whole", "cut"))
        assert all(torch.equal(one[key], other[key]) for key in one)
