"""Many runs as one table."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil

import pytest

import variata
from support import SMALL
from variata import RunError, Unsupported, VariataWarning


@pytest.fixture
def folder(tmp_path, without_pictures):
    for beta in (1.0, 4.0):
        variata.train("vae", {**SMALL, "loss.beta": beta}, run=tmp_path / "runs" / f"beta-{beta:g}")
    variata.evaluate(tmp_path / "runs" / "beta-4", samples=2)
    return tmp_path / "runs"


def test_a_row_for_each_run_and_metric(folder):
    table = variata.runs(folder)
    assert [record.path.name for record in table] == ["beta-1", "beta-4"]
    rows = table.rows()
    assert {row["loss.beta"] for row in rows} == {1.0, 4.0}
    assert "train.epochs" not in table.columns  # the runs agree in it
    found = json.loads((folder / "beta-4" / "evaluation.json").read_text())["metrics"]["nll"]
    (nll,) = [row for row in rows if row["metric"] == "nll"]
    about = {"run": "beta-4", "model": "vae", "seed": 0, "status": "finished", "split": "test", "kind": "upper_bound"}
    assert {key: nll[key] for key in about} == about
    assert (nll["value"], nll["standard_error"]) == (found["value"], found["standard_error"])
    keys = [(row["run"], row["split"], row["metric"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {split for _, split, _ in keys} == {"train", "validation", "test"}


def test_the_csv_holds_the_rows(folder):
    table = variata.runs(folder)
    with table.to_csv(folder / "all.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["metric"] for row in read] == [row["metric"] for row in table.rows()]
    assert [float(row["value"]) for row in read] == [row["value"] for row in table.rows()]


def test_pandas_is_optional(folder, monkeypatch):
    table = variata.runs(folder)
    if importlib.util.find_spec("pandas") is not None:
        frame = table.to_pandas()
        assert len(frame) == len(table.rows())
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(Unsupported, match="pip install pandas"):
        table.to_pandas()


def test_what_cannot_be_read_is_named_and_left_out(folder):
    shutil.copytree(folder / "beta-1", folder / "broken")
    (folder / "broken" / "run.json").write_text("{")
    with (folder / "beta-1" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1')
    with pytest.warns(VariataWarning, match="broken is left out"):
        table = variata.runs(folder)
    assert [record.path.name for record in table] == ["beta-1", "beta-4"]
    assert variata.runs(folder / "beta-1").rows()[0]["run"] == "beta-1"


def test_there_must_be_a_folder(tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        variata.runs(tmp_path / "none")
