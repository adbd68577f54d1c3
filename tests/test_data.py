"""Data sets: what is held out, what becomes of grey values, files of every kind, and files that are damaged."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import struct
import threading

import numpy as np
import pytest
import torch

import variata
from variata import ConfigError, DataError, DataSpec
from variata_plugins.datasets import mnist
from variata_plugins.datasets.blobs import Blobs
from variata_plugins.datasets.digits import Digits
from variata_plugins.datasets.idx import read_idx
from variata_plugins.datasets.mnist import MNIST
from variata_plugins.datasets.pixels import Pixels

SPLITS = ("train", "validation", "test")


def everything(data: variata.Data, split: str) -> torch.Tensor:
    return torch.cat([batch.x for batch in data.split(split).batches(100)])


# What is held out


def test_the_test_set_has_the_same_bytes_whatever_the_seed_of_a_run():
    sets = [everything(variata.build("vae", {"seed": seed}).data, "test") for seed in (0, 1, 99)]
    assert torch.equal(sets[0], sets[1])
    assert torch.equal(sets[0], sets[2])
    torch.manual_seed(1234)
    assert torch.equal(sets[0], everything(Digits(binarize="dynamic"), "test"))


def test_the_test_set_is_binarised_once_with_a_seed_of_its_own():
    grey = everything(Digits(), "test")
    expected = torch.rand(grey.shape, generator=torch.Generator().manual_seed(777)) < grey
    for how in ("dynamic", "static"):
        assert torch.equal(everything(Digits(binarize=how), "test"), expected.float())


def test_splits_share_no_example_and_leave_none_out():
    images = {split: everything(Digits(), split) for split in SPLITS}
    assert {split: len(x) for split, x in images.items()} == {"train": 1258, "validation": 180, "test": 359}
    rows = [tuple(row.flatten().tolist()) for x in images.values() for row in x]
    assert len(set(rows)) == len(rows) == 1797


def test_the_split_seed_chooses_what_is_held_out_and_numbers_are_as_good_as_shares():
    other = Digits(split_seed=1, test=100, validation=0)
    assert [len(other.split(split)) for split in SPLITS] == [1697, 0, 100]
    assert not torch.equal(everything(other, "test"), everything(Digits(test=100, validation=0), "test"))
    with pytest.raises(DataError, match="1797 of 1797 examples are held out"):
        Digits(test=1797, validation=0).split("train")


# What becomes of grey values


def test_dynamic_binarisation_draws_afresh_in_training_with_the_right_probabilities():
    data, grey = Digits(binarize="dynamic"), everything(Digits(), "train")
    drawn = torch.stack([everything(data, "train") for _ in range(200)])
    assert ((drawn == 0) | (drawn == 1)).all()
    assert not torch.equal(drawn[0], drawn[1])
    error = (drawn.mean(0) - grey).abs() / (grey * (1 - grey) / 200).sqrt().clamp(min=1e-9)
    assert error[(grey > 0) & (grey < 1)].max() < 6
    assert torch.equal(drawn[0][grey == 0], grey[grey == 0])
    assert torch.equal(drawn[0][grey == 1], grey[grey == 1])


def test_static_binarisation_is_the_same_each_time_and_says_what_it_is():
    data = Digits(binarize="static")
    assert torch.equal(everything(data, "train"), everything(data, "train"))
    assert torch.equal(everything(data, "train"), everything(Digits(binarize="static"), "train"))
    assert data.spec.transform == "static[777] binarisation"


def test_threshold_keeps_the_brighter_half():
    grey = everything(Digits(), "train")
    assert torch.equal(everything(Digits(binarize="threshold"), "train"), (grey >= 0.5).float())


def test_levels_are_scaled():
    unit, centred = everything(Digits(), "train"), everything(Digits(scale=(-1.0, 1.0)), "train")
    assert sorted(set((unit * 16).flatten().tolist())) == list(range(17))
    torch.testing.assert_close(centred, 2 * unit - 1)


def test_dequantisation_stays_within_each_level_and_is_fixed_where_held_out():
    data = Digits(dequantize="uniform", scale=(-1.0, 1.0))
    level = torch.cat([batch.x for batch in Digits().split("train").batches(100)]) * 16
    first, second = everything(data, "train"), everything(data, "train")
    for drawn in (first, second):
        within = (drawn + 1) / 2 * 17 - level
        assert within.min() >= -1e-4
        assert within.max() <= 1 + 1e-4
    assert not torch.equal(first, second)
    assert torch.equal(everything(data, "test"), everything(data, "test"))
    spec = data.spec
    assert (spec.support, spec.measure, spec.low, spec.high, spec.levels) == ("interval", "lebesgue", -1.0, 1.0, 17)
    assert spec.transform == "uniform dequantisation of 17 levels to [-1, 1]"


def test_specifications_say_what_likelihoods_are_densities_of():
    described = {how: Digits(binarize=how).spec for how in ("none", "dynamic", "static", "threshold")}
    assert described["none"] == DataSpec(
        (1, 8, 8), "levels", levels=17, transform="17 levels scaled to [0, 1]", classes=10
    )
    for how in ("dynamic", "static", "threshold"):
        assert (described[how].support, described[how].levels, described[how].measure) == ("binary", 2, "counting")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (DataSpec((4,), "real"), {"binarize": "dynamic"}, "binarize is for grey values, and this data is real-valued"),
        (DataSpec((4,), "binary"), {"scale": (0.0, 2.0)}, "scale is for grey values, and this data is binary"),
        (DataSpec((4,), "levels", levels=3), {"scale": (1.0, 1.0)}, r"scale must be \[low, high\] with low < high"),
        (DataSpec((4,), "levels", levels=3), {"scale": (0.0, float("inf"))}, "scale must be"),
        (
            DataSpec((4,), "levels", levels=3),
            {"binarize": "static", "dequantize": "uniform"},
            "binarised data is 0 and 1: remove dequantize",
        ),
        (DataSpec((4,), "interval"), {"dequantize": "uniform"}, "dequantize is for levels, and this data is cont"),
    ],
)
def test_options_that_do_not_fit(source, options, message):
    with pytest.raises(ConfigError, match=message):
        Pixels(source, **options)


# IDX and MNIST


def idx(values: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


@pytest.fixture
def files() -> dict[str, bytes]:
    """The four files of a small MNIST."""
    generator = np.random.default_rng(0)
    made = {}
    for part, count in (("train", 30), ("t10k", 12)):
        made[f"{part}-images-idx3-ubyte"] = idx(generator.integers(0, 256, (count, 5, 4)))
        made[f"{part}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return made


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "mnist"])
def test_mnist_is_read_plain_or_packed_from_a_folder_or_the_one_below(tmp_path, monkeypatch, files, packed, below):
    folder = tmp_path / below
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    monkeypatch.setenv("VARIATA_DATA", str(tmp_path))
    for data in (MNIST(verify=False), MNIST(root=tmp_path, verify=False)):
        assert data.spec.shape == (1, 5, 4)
        assert data.spec.classes == 10
        assert [len(data.split(split)) for split in SPLITS] == [30, 0, 12]
        stored = np.frombuffer(files["t10k-images-idx3-ubyte"][16:], np.uint8).reshape(12, 1, 5, 4)
        torch.testing.assert_close(everything(data, "test"), torch.from_numpy(stored / 255).float())
    assert len(MNIST(verify=False, validation=5).split("validation")) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no IDX file of bytes .it begins with nothing"),
        (b"\0\0\x0d\x01", "is no IDX file of bytes .it begins with 00 00 0d 01"),
        (b"\0\0\x08\x03\0\0\0\1", "is damaged"),
        (idx(np.zeros((2, 3)))[:-1], "is damaged: it has 17 bytes, its header says 18"),
        (idx(np.zeros((2, 3))) + b"x", "is damaged: it has 19 bytes, its header says 18"),
        (gzip.compress(idx(np.zeros((2, 3))), mtime=0)[:-9], "is a damaged gzip file"),
        (gzip.compress(idx(np.zeros((2, 3))), mtime=0)[:12] + b"zzzzzzzzzzzzzzzz", "is a damaged gzip file"),
    ],
)
def test_damaged_idx_files(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "x")


def test_a_checksum_that_differs(tmp_path):
    content = idx(np.zeros((2, 3)))
    (tmp_path / "x").write_bytes(gzip.compress(content))
    assert read_idx(tmp_path / "x", hashlib.md5(content).hexdigest()).shape == (2, 3)
    with pytest.raises(DataError, match=r"has the checksum .*, not 0123: get it again, or set data\.verify=false"):
        read_idx(tmp_path / "x", "0123")


def test_a_folder_without_mnist(tmp_path, files):
    with pytest.raises(DataError, match="holds none of MNIST's files"):
        MNIST(root=tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(files["train-images-idx3-ubyte"])
    with pytest.raises(DataError, match="lacks train-labels-idx1-ubyte and t10k-images-idx3-ubyte and t10k-labels"):
        MNIST(root=tmp_path)


def test_files_that_do_not_fit_each_other(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(7)))
    with pytest.raises(DataError, match=r"train: images \[30, 5, 4\] and labels \[7\] do not fit"):
        MNIST(root=tmp_path, verify=False)


@pytest.fixture
def server(tmp_path, monkeypatch, files):
    """A server on this machine in place of MNIST's, with the checksums of its files; gives what it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    sums = {}
    for name, content in files.items():
        packed = gzip.compress(content, mtime=0)
        (folder / f"{name}.gz").write_bytes(packed)
        sums[name] = hashlib.md5(packed).hexdigest(), hashlib.md5(content).hexdigest()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        monkeypatch.setattr(mnist, "FILES", sums)
        monkeypatch.setattr(mnist, "SERVERS", ("http://127.0.0.1:9/", f"http://127.0.0.1:{served.server_port}/"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.delenv("VARIATA_DATA", raising=False)
        for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(proxy, raising=False)
        yield folder
        served.shutdown()


def test_mnist_is_downloaded_once_from_the_server_that_answers(server):
    assert len(MNIST().split("train")) == 30
    for file in server.iterdir():
        file.unlink()
    assert len(MNIST().split("test")) == 12


def test_a_download_that_is_not_what_it_should_be(server):
    packed = server / "train-labels-idx1-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"MNIST cannot be downloaded .*ValueError .*set data\.root or VARIATA_DATA"):
        MNIST()


def test_the_real_mnist(data_root):
    data = MNIST(root=data_root, binarize="dynamic")
    assert [len(data.split(split)) for split in SPLITS] == [60000, 0, 10000]
    grey = everything(MNIST(root=data_root), "test")
    expected = torch.rand(10000, 784, generator=torch.Generator().manual_seed(777)) < grey.flatten(1)
    assert torch.equal(everything(data, "test").flatten(1), expected.float())
    assert torch.bincount(data.split("train").y).tolist()[:3] == [5923, 6742, 5958]


# Blobs


def test_blobs_lie_around_their_centres():
    data = Blobs(layout="grid", modes=25, std=0.05)
    x, y = everything(data, "train"), data.split("train").y
    assert data.centres.shape == (25, 2)
    assert data.centres.abs().max() == 4
    assert sorted({abs(v) for v in data.centres.flatten().tolist()}) == [0, 2, 4]
    spread = x - data.centres[y]
    assert spread.norm(dim=1).max() < 0.05 * 6
    assert float(spread.std()) == pytest.approx(0.05, rel=0.02)
    assert torch.bincount(y, minlength=25).min() > 200
    ring = Blobs(modes=8)
    torch.testing.assert_close(ring.centres.norm(dim=1), torch.full((8,), 2.0))
    with pytest.raises(ConfigError, match="a grid needs a square number of modes: 4 or 9"):
        Blobs(layout="grid", modes=8)
    assert torch.equal(everything(Blobs(), "test"), everything(Blobs(), "test"))
    assert not torch.equal(everything(Blobs(), "test"), everything(Blobs(split_seed=1), "test"))
