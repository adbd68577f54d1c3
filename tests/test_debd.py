"""Binary density-estimation sets: any files of the format, and one line for each way in which a file can be wrong."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
import torch

import variata
from variata import DataError
from variata_plugins.datasets.debd import DEBD, read_rows

PARTS = {"train": "0,1,1\n1,0,0\n0,0,1\n1,1,1\n", "valid": "0,0,0\n", "test": "1,0,1\r\n0,1,0"}
SIZES = {"nltcs": (16181, 2157, 3236, 16), "dna": (1600, 400, 1186, 180)}


def write(folder: Path, name: str = "toy", packed: bool = False, **parts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for part, text in (PARTS | parts).items():
        file = folder / f"{name}.{part}.data{'.gz' if packed else ''}"
        file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "debd"])
def test_any_set_of_the_format_is_read(tmp_path, monkeypatch, packed, below):
    write(tmp_path / below, packed=packed)
    data = DEBD(name="toy", root=tmp_path)
    assert (data.spec.shape, data.spec.support, data.spec.measure) == ((3,), "binary", "counting")
    assert [len(data.split(split)) for split in ("train", "validation", "test")] == [4, 1, 2]
    x = next(iter(data.split("test").batches(9))).x
    assert x.dtype == torch.get_default_dtype()
    assert x.tolist() == [[1, 0, 1], [0, 1, 0]]
    monkeypatch.setenv("VARIATA_DATA", str(tmp_path))
    assert torch.equal(DEBD(name="toy").split("train").x, data.split("train").x)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1,1\n1,2,0\n", "2:3: '2' is neither 0 nor 1"),
        ("0,1,1\n1,0,\n", "2:5: '' is neither 0 nor 1"),
        ("0,1,1\n1,0\n", "2:4: the row has 2 values, and the first one has 3"),
        ("0,1,1\n1,0,1,1\n", "2:6: the row has 4 values, and the first one has 3"),
        ("0,1,1\n1 0,1\n", "2:1: '1 0' is neither 0 nor 1"),
        ("0,1,1\n\n1,0,1\n", "2:1: '' is neither 0 nor 1"),
        ("0.5,1,1\n", "1:1: '0.5' is neither 0 nor 1"),
        ("0,11\n", "1:3: '11' is neither 0 nor 1"),
        ("", "1:1: is empty"),
        ("0,1\n1,0\n", "its validation file has rows of 3 values, and its training file has rows of 2"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_line_and_column(tmp_path, text, message):
    write(tmp_path, train=text)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        DEBD(name="toy", root=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_short_gzip_is_named(tmp_path):
    write(tmp_path, packed=True)
    file = tmp_path / "toy.valid.data.gz"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"toy\.valid\.data\.gz: is a damaged gzip file"):
        DEBD(name="toy", root=tmp_path)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("VARIATA_DATA", raising=False)
    with pytest.raises(DataError, match=r"looked for in data\.root or the folder that VARIATA_DATA names"):
        DEBD(name="toy")
    write(tmp_path)
    with pytest.raises(DataError, match=r"holds no set plants .*it has toy\); set data\.name or data\.root"):
        DEBD(name="plants", root=tmp_path)
    (tmp_path / "toy.test.data").unlink()
    with pytest.raises(DataError, match=r"lacks toy\.test\.data \(plain or \.gz\)"):
        DEBD(name="toy", root=tmp_path)
    with pytest.raises(DataError, match="is no name of a data set"):
        DEBD(name="../toy", root=tmp_path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_rows(tmp_path / "gone.data")


def test_a_preset_trains_on_a_set(tmp_path, command):
    write(tmp_path, train=PARTS["train"] * 20)
    settings = ["data.use=debd", "data.name=toy", f"data.root={tmp_path}", "train.epochs=1", "model.latent=2"]
    parts = ["model.encoder.network={use: mlp, hidden: [4]}", "model.decoder.network={use: mlp, hidden: [4]}"]
    status, _, err = command("train", "vae", *settings, *parts, "--run", tmp_path / "run", "--quiet")
    assert (status, err) == (0, "")
    assert variata.load(tmp_path / "run").data.spec.shape == (3,)


@pytest.mark.parametrize("name", SIZES)
def test_the_published_sets_have_their_sizes(data_root, name):
    data = DEBD(name=name, root=data_root)
    sizes = [len(data.split(split)) for split in ("train", "validation", "test")]
    assert (*sizes, *data.spec.shape) == SIZES[name]
