"""`variata encode`: codes are the model's own, and files of another form are refused in a line."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

import variata
from support import SMALL


@pytest.fixture
def run(tmp_path, without_pictures):
    return variata.train("cvae", SMALL, run=tmp_path / "run")


def test_the_codes_are_those_of_the_model_with_their_labels(run, command, tmp_path):
    split = run.data.split("validation")
    batch = split.batch(torch.arange(len(split)))
    expected = run.model.encode(batch.x, batch.y).detach().numpy()
    assert command("encode", run.path, "--data", "validation", "--out", tmp_path / "z.npz")[0] == 0
    found = np.load(tmp_path / "z.npz")
    np.testing.assert_allclose(found["z"], expected, rtol=1e-5, atol=1e-6)
    assert (found["y"] == batch.y.numpy()).all()
    assert (found["index"] == np.arange(len(split))).all()
    np.savez(tmp_path / "x.npz", x=batch.x.numpy(), y=batch.y.numpy())
    assert command("encode", run.path, "--data", tmp_path / "x.npz", "--out", tmp_path / "z.csv")[0] == 0
    with (tmp_path / "z.csv").open() as file:
        names, *rows = csv.reader(file)
    assert names[:3] == ["index", "y", "z0"]
    np.testing.assert_allclose(np.array(rows, float)[:, 2:], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.zeros(2)}, "has no array x"),
        ({"x": np.zeros((2, 8, 8))}, "x is [2, 8, 8], and the model encodes [n, 1, 8, 8]"),
        ({"x": np.full((2, 1, 8, 8), np.nan)}, "not finite"),
        ({"x": np.full((2, 1, 8, 8), 255.0)}, "x is in 255 .. 255, and the model's data in 0 .. 1: scale it"),
        ({"x": np.full((2, 1, 8, 8), 0.5)}, "values other than 0 and 1"),
        ({"x": np.zeros((2, 1, 8, 8))}, "the model is conditional: give y beside x"),
        ({"x": np.zeros((2, 1, 8, 8)), "y": np.array([0, 10])}, "y has labels other than 0 .. 9"),
        ({"x": np.zeros((2, 1, 8, 8)), "y": np.array([0.5, 1])}, "y has labels other than 0 .. 9"),
        ({"x": np.zeros((2, 1, 8, 8)), "y": np.array(3)}, "there are 2 examples, and y is []: give one for each"),
        ({"x": np.array(3.0)}, "x is [], and the model encodes [n, 1, 8, 8]"),
        ({"x": np.array(["a", "b"])}, "x holds values of type <U1, and numbers are needed"),
        ({"x": np.zeros((2, 1, 8, 8), complex)}, "x holds values of type complex128, and numbers are needed"),
        ({"x": np.array([{}])}, "holds Python objects (a pickle), which may run code and are never read"),
        ({"x": np.zeros((0, 1, 8, 8)), "y": np.zeros(0)}, "has no examples to encode"),
    ],
)
def test_files_of_another_form_are_refused(run, command, tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    status, _, err = command("encode", run.path, "--data", tmp_path / "x.npz", "--out", tmp_path / "z.npz")
    assert (status, len(err.splitlines())) == (2, 1)
    assert message in err


def test_what_cannot_be_encoded_or_written_is_said(run, command, tmp_path, without_pictures):
    for words, message in (
        (("--data", "tset"), "is one of train, validation, test, or a file .npz, .npy, .safetensors (got 'tset')"),
        (("--data", tmp_path / "none.npz"), "cannot be read: No such file or directory"),
        (("--out", tmp_path / "z.png"), "must end in .npz or .csv"),
    ):
        status, _, err = command("encode", run.path, *words)
        assert (status, message in err) == (2, True), err
    other = variata.train("gan", {"train.epochs": 1}, run=tmp_path / "gan")
    status, _, err = command("encode", other.path, "--out", tmp_path / "z.npz")
    assert (status, err) == (2, "error: GAN has no codes: it cannot encode\n")


def test_rows_of_a_table_are_held_against_its_columns(command, tmp_path, without_pictures):
    settings = {"train.epochs": 1, "data": {"use": "sklearn_table", "name": "wine", "hide": 0.1}}
    run = variata.train("table_vae", settings, run=tmp_path / "run")
    x = run.data.split("test").x.numpy().astype(float)
    np.savez(tmp_path / "x.npz", x=x)
    assert command("encode", run.path, "--data", tmp_path / "x.npz", "--out", tmp_path / "z.npz")[0] == 0
    x[0, -1] = 3  # there are three cultivars
    np.savez(tmp_path / "x.npz", x=x)
    status, _, err = command("encode", run.path, "--data", tmp_path / "x.npz", "--out", tmp_path / "z.npz")
    assert (status, "values in the column 'target' that are not the number of a level, 0 .. 2" in err) == (2, True), err
