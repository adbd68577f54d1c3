"""Commands and figures on a trained model of a table."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch

import variata
from support import refused
from variata import Column, DataError, DataSpec, Unsupported


@pytest.fixture(scope="module")
def filled_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    generator = np.random.default_rng(0)
    rows = [["age", "town", "calls", "note"]]
    for i in range(60):
        town = ["oslo", "rome"][generator.integers(2)] if i % 7 else ""
        rows.append([f"{generator.normal(40, 9):.1f}" if i % 5 else "?", town, str(generator.poisson(3)), f"n{i}"])
    with (folder / "t.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    data = {"use": "table", "path": str(folder / "t.csv"), "columns": {"note": "ignore"}}
    variata.train("table_miwae", {"data": data, "train.epochs": 1}, run=folder / "run")
    return folder


def read(path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_impute_fills_gaps_and_nothing_else(command, filled_run, tmp_path):
    out = tmp_path / "full.csv"
    status, printed, err = command(
        "impute", filled_run / "run", "--data", filled_run / "t.csv", "--out", out, "--samples", 20
    )
    assert (status, err) == (0, "")
    assert "values filled in" in printed
    before, after = read(filled_run / "t.csv"), read(out)
    assert len(before) == len(after)
    for old, new in zip(before[1:], after[1:], strict=True):
        assert all(o == n for o, n in zip(old, new, strict=True) if o not in ("", "?"))
        assert float(new[0])
        assert new[1] in ("oslo", "rome")


def test_impute_says_what_is_wrong(command, filled_run, tmp_path, write):
    def said(text: str) -> str:
        file = write("more.csv", text)
        return refused(command("impute", filled_run / "run", "--data", file, "--out", tmp_path / "o.csv"))[0]

    assert "lacks the column 'calls'" in said("age,town\n30,oslo\n")
    assert "more.csv:2:4: column town: 'bonn' is none of its levels (oslo, rome)" in said("age,town,calls\n30,bonn,1\n")
    wrong = refused(command("impute", filled_run / "run", "--data", filled_run / "t.csv", "--out", tmp_path / "o.png"))
    assert "must end in .csv" in wrong[0]


def test_samples_are_rows_in_the_units_of_the_file(command, filled_run, tmp_path):
    out = tmp_path / "drawn.csv"
    assert command("sample", filled_run / "run", "-n", 9, "--out", out)[0] == 0
    names, *rows = read(out)
    assert names == ["age", "town", "calls"]
    assert len(rows) == 9
    assert {row[1] for row in rows} <= {"oslo", "rome"}
    assert all(row[2].isdigit() and -60 < float(row[0]) < 140 for row in rows)


def test_pictures_show_the_columns_of_any_table(filled_run, tmp_path):
    from variata_plugins.pictures.figures import draw_examples

    run = variata.load(filled_run / "run")
    assert (filled_run / "run" / "samples.png").stat().st_size > 1000
    draw_examples(run.model.sample(3)[:0], run.model.spec, tmp_path / "none.png", "nothing")
    wide = DataSpec((14,), "real", columns=tuple(Column(f"c{i}", "numeric") for i in range(14)))
    draw_examples(torch.randn(5, 14), wide, tmp_path / "wide.png", "wide", torch.full((5, 14), math.nan))
    assert (tmp_path / "wide.png").stat().st_size > 1000


def test_check_show_and_training_tell_what_columns_are(command, filled_run, tmp_path):
    setting = f"data={{use: table, path: {filled_run / 't.csv'}, columns: {{note: ignore, calls: numeric}}}}"
    for name in ("check", "show"):
        status, out, _ = command(name, "table_miwae", setting)
        assert status == 0
        assert "column town: categorical (oslo, rome)" in out
        assert "column calls: numeric" in out


def test_a_table_that_was_changed_since_is_refused(filled_run, tmp_path):
    run = variata.load(filled_run / "run")
    assert run.data.spec == run.model.spec
    text = (filled_run / "t.csv").read_text()
    (filled_run / "t.csv").write_text(text + "99.5,oslo,40,n60\n" * 5)
    try:
        with pytest.raises(DataError, match="the file was changed since"):
            _ = variata.load(filled_run / "run").data
    finally:
        (filled_run / "t.csv").write_text(text)


def test_the_metric_hides_a_share_where_the_data_hides_none(filled_run):
    run = variata.load(filled_run / "run")
    metric = {"use": "imputation", "samples": 20, "share": 0.5}
    found = variata.evaluate(run, samples=2, split="train", metrics=[metric])
    for name in ("imputation_rmse", "imputation_rmse[mean]", "imputation_rmse[knn]", "imputation_error"):
        assert found[name]["value"] >= 0
    with pytest.raises(Unsupported, match="compares numbers of one kind"):
        variata.evaluate(run, samples=2, metrics=["reconstruction_error"])


def test_imputation_is_measured_of_a_table_with_few_labels(tmp_path, without_pictures):
    data = {"use": "sklearn_table", "name": "wine", "label": "target", "labels": 20, "hide": 0.2}
    run = variata.train("table_vae", {"data": data, "train.epochs": 1}, run=tmp_path / "run")
    found = variata.evaluate(run, samples=2, metrics=[{"use": "imputation", "samples": 20}])
    assert found["imputation_rmse"]["value"] > 0


def test_a_model_of_rows_without_gaps_does_not_fill_any(command, tmp_path, without_pictures, write):
    """Its encoder would read NaN, and the numbers filled in would be none."""
    data = {"use": "table", "path": str(write("t.csv", "a,b\n" + "".join(f"{i}.5,{i % 7}.25\n" for i in range(50))))}
    run = variata.train("table_vae", {"data": data, "train.epochs": 1}, run=tmp_path / "run")
    gaps = write("gaps.csv", "a,b\n1.5,\n")
    status, _, err = command("impute", run.path, "--data", gaps, "--out", tmp_path / "full.csv")
    assert (status, "trained on rows without gaps" in err) == (2, True), err
    with pytest.raises(Unsupported, match="train with data"):
        variata.evaluate(run, samples=2, metrics=["imputation"])
