"""Arrays of the user's own: every kind of file, mapped where large, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import variata
from variata import ConfigError, DataError, VariataWarning
from variata_plugins.datasets import array
from variata_plugins.datasets.array import Array, MappedRows

SPLITS = ("train", "validation", "test")


def everything(data: variata.Data, split: str) -> torch.Tensor:
    return torch.cat([batch.x for batch in data.split(split).batches(100)])


def save(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".npy":
        np.save(path, arrays["x"])
    else:
        from safetensors.numpy import save_file

        save_file(arrays, path)
    return path


KINDS = ["x.npz", "x.npy", "x.safetensors"]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("limit", [array.IN_MEMORY, 0], ids=["in memory", "mapped"])
def test_arrays_in_every_file_and_mapped_where_large(tmp_path, monkeypatch, name, limit):
    monkeypatch.setattr(array, "IN_MEMORY", limit)
    x = np.random.default_rng(0).integers(0, 256, (50, 6, 5), np.uint8)
    path = save(tmp_path / name, x=x, y=np.arange(50) % 3)
    data = Array(path=path, binarize="threshold")
    assert data.spec.shape == (1, 6, 5)
    assert data.spec.classes == (None if name == "x.npy" else 3)
    assert [len(data.split(split)) for split in SPLITS] == [40, 5, 5]
    assert isinstance(data.split("train").x, MappedRows) == (limit == 0 and name != "x.npz")
    rows = variata.split_rows(50, {"validation": 0.1, "test": 0.1}, 0)
    for split in SPLITS:
        expected = torch.from_numpy(x[rows[split]][:, None] >= 128).float()
        assert torch.equal(everything(data, split), expected)
        if data.spec.classes:
            assert torch.equal(data.split(split).batch(torch.tensor([1])).y, rows[split][1:2] % 3)
    index = torch.tensor([7, 3])
    assert torch.equal(data.split("train").batch(index).x, everything(data, "train")[index])


@pytest.mark.parametrize(
    ("x", "options", "shape", "support"),
    [
        (np.zeros((9, 4), np.float32), {}, (4,), "binary"),
        (np.full((9, 4), 0.25), {}, (4,), "interval"),
        (np.full((9, 4), 2.5, np.float16), {}, (4,), "real"),
        (np.zeros((9, 4), bool), {}, (4,), "binary"),
        (np.full((9, 3, 8, 7), 9, np.uint8), {}, (3, 8, 7), "levels"),
        (np.full((9, 8, 7, 3), 9, np.uint8), {}, (3, 8, 7), "levels"),
        (np.full((9, 2, 3, 4), 9, np.uint8), {"channels": "last"}, (4, 2, 3), "levels"),
        (np.full((9, 8, 7), 3, np.int64), {"levels": 4}, (1, 8, 7), "levels"),
        (np.full((9, 4), 1, np.uint8), {"levels": 2}, (4,), "binary"),
        (np.full((9, 2, 2, 2, 2), 0.5), {}, (2, 2, 2, 2), "interval"),
    ],
)
def test_what_arrays_are_taken_for(tmp_path, x, options, shape, support):
    data = Array(path=save(tmp_path / "x.npz", x=x), **options)
    assert (data.spec.shape, data.spec.support) == (shape, support)
    batch = data.split("train").batch(torch.arange(2))
    assert batch.x.shape == (2, *shape)
    assert batch.x.dtype == torch.float32


def test_channels_that_come_last_are_moved(tmp_path):
    x = np.arange(9 * 8 * 7 * 3, dtype=np.int64).reshape(9, 8, 7, 3)
    data = Array(path=save(tmp_path / "x.npz", x=x), levels=9 * 8 * 7 * 3, test=0, validation=0)
    stored = everything(data, "train") * (9 * 8 * 7 * 3 - 1)
    torch.testing.assert_close(stored, torch.from_numpy(x).movedim(3, 1).float())


def test_a_file_with_splits_of_its_own(tmp_path):
    parts = {"x_train": np.full((20, 4), 0.25), "x_test": np.full((5, 4), 0.75)}
    labels = {"y_train": np.arange(20) % 2, "y_test": np.arange(5) % 3}
    data = Array(path=save(tmp_path / "x.npz", **parts, **labels), validation=4)
    assert [len(data.split(split)) for split in SPLITS] == [16, 4, 5]
    assert everything(data, "test").unique().tolist() == [0.75]
    assert data.spec.classes == 3
    with pytest.raises(DataError, match=r"its test part is \[3\], binary, and its training part \[4\], continuous"):
        Array(path=save(tmp_path / "y.npz", x_train=parts["x_train"], x_test=np.zeros((5, 3))))
    with pytest.raises(DataError, match=r"its test part is .*real-valued, and its training part .*continuous"):
        Array(path=save(tmp_path / "z.npz", x_train=parts["x_train"], x_test=np.full((5, 4), 7.5)))


def test_vectors_are_conditions(tmp_path):
    data = Array(path=save(tmp_path / "x.npz", x=np.full((9, 4), 0.5), y=np.zeros((9, 2))))
    assert (data.spec.classes, data.spec.condition) == (None, (2,))


def test_bytes_that_look_binary_are_a_warning(tmp_path):
    with pytest.warns(VariataWarning, match="its bytes are all 0 or 1, taken for 2 of 256 levels; set data.levels=2"):
        Array(path=save(tmp_path / "x.npz", x=np.ones((9, 4), np.uint8)))


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.zeros(9), {}, r"needs at least one example of at least one axis, and x is \[9\]"),
        (np.zeros((0, 3)), {}, "needs at least one example"),
        (np.zeros((9, 3), np.int32), {}, r"holds integers \(int32\): say how many levels they have"),
        (np.full((9, 3), 4, np.int32), {"levels": 4}, "holds integers from 4 to 4, and 4 levels are 0 .. 3"),
        (np.full((9, 3), -1, np.int32), {"levels": 4}, "holds integers from -1"),
        (np.zeros((9, 3)), {"levels": 4}, "levels is for integers"),
        (np.full((9, 2, 3, 4), 9, np.uint8), {}, "does not say which axis holds the channels"),
        (np.zeros((9, 3), complex), {}, "holds values of type complex128, and numbers are needed"),
        (np.array([["a", "b"]] * 4), {}, "holds values of type <U1"),
        (np.zeros((9, 3)), {"x": "images"}, r"holds no array 'images' or 'images_train' \(it holds x\)"),
        (np.full((9, 3), np.inf), {}, "row 0 holds NaN or infinity"),
    ],
)
def test_arrays_that_are_wrong(tmp_path, x, options, message):
    with pytest.raises((DataError, ConfigError), match=message):
        Array(path=save(tmp_path / "x.npz", x=x), **options)


def test_labels_that_do_not_fit(tmp_path):
    with pytest.raises(DataError, match=r"there are 9 examples but labels of shape \[8\]"):
        Array(path=save(tmp_path / "x.npz", x=np.zeros((9, 3)), y=np.zeros(8)))
    with pytest.raises(DataError, match="labels must be integers from 0"):
        Array(path=save(tmp_path / "x.npz", x=np.zeros((9, 3)), y=-np.ones(9, int)))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("limit", [array.IN_MEMORY, 0], ids=["in memory", "mapped"])
@pytest.mark.parametrize("keep", [0, 5, 60, -40])
def test_files_that_are_cut_short(tmp_path, monkeypatch, name, limit, keep):
    monkeypatch.setattr(array, "IN_MEMORY", limit)
    path = save(tmp_path / name, x=np.zeros((50, 4), np.float32))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"is no whole \w+ file"):
        Array(path=path)


def test_files_that_are_never_read(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}, None]), allow_pickle=True)
    with pytest.raises(DataError, match=r"holds Python objects \(a pickle\)"):
        Array(path=tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", x=np.array([{"a": 1}, None]))
    with pytest.raises(DataError, match=r"holds Python objects \(a pickle\)"):
        Array(path=tmp_path / "x.npz")
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"must end in \.npz, \.npy or \.safetensors"):
        Array(path=tmp_path / "x.csv")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        Array(path=tmp_path / "gone.npy")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        Array(path=tmp_path / "folder.npz")


def test_a_preset_trains_on_an_array(tmp_path, command):
    x = (np.random.default_rng(0).random((60, 6, 6)) * 255).astype(np.uint8)
    path = save(tmp_path / "x.npz", x=x, y=np.arange(60) % 3)
    settings = ["data.use=array", f"data.path={path}", "data.binarize=dynamic", "train.epochs=1", "model.latent=2"]
    status, _, err = command("train", "cvae", *settings, "--run", tmp_path / "run", "--quiet")
    assert (status, err) == (0, "")
    assert variata.load(tmp_path / "run").data.spec.classes == 3


def test_a_run_finds_its_data_from_another_folder(tmp_path, monkeypatch):
    save(tmp_path / "x.npz", x=np.full((60, 4), 0.25))
    monkeypatch.chdir(tmp_path)
    settings = {"data": {"use": "array", "path": "x.npz", "binarize": "dynamic"}, "train.epochs": 1, "model.latent": 2}
    variata.train("vae", settings, run=tmp_path / "run")
    monkeypatch.chdir("/")
    assert len(variata.load(tmp_path / "run").data.split("test")) == 6


def test_a_file_with_examples_and_a_test_split_of_its_own(tmp_path):
    data = Array(path=save(tmp_path / "x.npz", x=np.full((20, 4), 0.25), x_test=np.full((5, 4), 0.75)), validation=4)
    assert [len(data.split(split)) for split in SPLITS] == [16, 4, 5]
    assert everything(data, "test").unique().tolist() == [0.75]
    with pytest.raises(DataError, match="holds both x and x_train"):
        Array(path=save(tmp_path / "y.npz", x=np.zeros((9, 4)), x_train=np.zeros((9, 4))))


def test_labels_that_are_named_must_be_there(tmp_path):
    path = save(tmp_path / "x.npz", x=np.full((20, 4), 0.25), labels=np.arange(20) % 3)
    assert Array(path=path).spec.classes is None
    assert Array(path=path, y="labels").spec.classes == 3
    with pytest.raises(DataError, match=r"holds no array 'labls' \(it holds x, labels\); name one with data.y"):
        Array(path=path, y="labls")
    with pytest.raises(DataError, match="has labels of type <U1: number the classes from 0"):
        Array(path=save(tmp_path / "z.npz", x=np.zeros((2, 4)), y=np.array(["a", "b"])))


@pytest.mark.parametrize("dtype", [">f4", "longdouble", "uint16", ">i8"])
def test_numbers_of_types_that_torch_lacks(tmp_path, dtype):
    x = (np.arange(80).reshape(20, 4) % 5).astype(dtype)
    data = Array(
        path=save(tmp_path / "x.npz", x=x, y=(np.arange(20) % 3).astype("uint16")),
        **({} if "f" in dtype or dtype == "longdouble" else {"levels": 5}),
    )
    assert data.spec.classes == 3
    assert everything(data, "train").dtype == torch.float32
