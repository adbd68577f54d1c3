"""Tables in files: kinds of columns, standardisation, gaps, mistakes named by their place; models that cannot read
them."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
import torch

from support import problems
from variata import ConfigError, DataError
from variata_plugins.tables.bundled import BundledTable
from variata_plugins.tables.table import Table

PEOPLE = """name, age,town,children,smokes,income
ann,31.5,oslo,0,yes,low
bob,NA,rome,2,no,high
"cy, d",40,,1,no,low
eve,22,"oslo",0,?,high
"""


@pytest.fixture
def people(write):
    return write("people.csv", PEOPLE)


def table(path, **options) -> Table:
    return Table(**{"path": path, "columns": {"name": "ignore"}, "validation": 0, "test": 0} | options)


def test_kinds_are_inferred_and_gaps_are_nan(people):
    data = table(people, label="income")
    kinds = {column.name: (column.kind, column.levels) for column in data.spec.columns}
    assert kinds == {
        "age": ("numeric", ()),
        "town": ("categorical", ("oslo", "rome")),
        "children": ("count", ()),
        "smokes": ("categorical", ("no", "yes")),
    }
    assert (data.spec.classes, data.spec.label.levels, data.spec.missing) == (2, ("high", "low"), True)
    age = np.array([31.5, 40, 22])
    expected = [[(v - age.mean()) / age.std() for v in (31.5, math.nan, 40, 22)], [0, 1, math.nan, 0], [0, 2, 1, 0]]
    x = data.split("train").batch(torch.arange(4))
    torch.testing.assert_close(x.x.T[:3], torch.tensor(expected, dtype=x.x.dtype), equal_nan=True)
    assert x.y.tolist() == [1, 0, 1, 0]


def test_columns_are_standardised_by_the_training_rows_alone(write):
    rows = "\n".join(str(value) for value in np.random.default_rng(0).normal(5, 3, 200))
    data = Table(path=write("one.csv", f"v\n{rows}\n"), validation=0.2, test=0.2)
    x = data.split("train").batch(torch.arange(len(data.split("train")))).x
    assert float(x.mean()) == pytest.approx(0, abs=1e-6)
    assert float(x.std(correction=0)) == pytest.approx(1, abs=1e-6)
    other = data.split("test").batch(torch.arange(40)).x
    assert abs(float(other.mean())) > 1e-3


def test_all_numbers_are_real_and_all_twos_are_binary(write):
    numbers = table(write("n.csv", "a,b\n1.5,2\n2.5,-1\n3,0\n"), columns=None).spec
    assert (numbers.support, numbers.measure, numbers.regular) == ("real", "lebesgue", True)
    twos = table(write("t.csv", "a,b\n0,x\n1,y\n1,x\n"), columns=None).spec
    assert (twos.support, twos.levels, twos.measure) == ("binary", 2, "counting")


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("a,b\n1.5,x\n2.5\n", {}, "f.csv:3:1: the row has 1 values, and the first one has 2"),
        ("a,b\n1.5,x\n2.5,y\n-3,z\noh,x\n", {}, "f.csv:5:1: column a: 'oh' is no finite number"),
        ('b,a\n"x, ""y""",1.5\nx,2.5\n"z\nz",inf\n', {}, "f.csv:5:4: column a: 'inf' is no finite number"),
        ("a\n1\n-2\n3\n", {"columns": {"a": "count"}}, "f.csv:3:1: column a: '-2' is no count"),
        ("a,a\n1,2\n", {}, "two columns are named a"),
        ("a,\n1,2\n", {}, "column 2 has no name"),
        ("", {}, "f.csv:1:1: is empty"),
        ("a,b\n", {}, "has names of columns and no rows"),
        ("a,b\n1.5,\n2.5,\n", {}, "column b has no values: set data.columns.b=ignore"),
        ("a,b\n1.5,x\n2.5,y\n4,\n", {"label": "b"}, "f.csv:4:3: column b: the label is missing"),
        ("k\n" + "\n".join(f"key{i}" for i in range(200)), {}, "has 200 different texts, as names and keys do"),
        ('a\n"x\n', {}, "is no table of texts"),
    ],
)
def test_mistakes_in_a_file_are_named_by_their_place(write, text, options, said):
    with pytest.raises(DataError) as caught:
        table(write("f.csv", text), **{"columns": None} | options)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_names_that_the_table_has_not_are_refused(people):
    for options in ({"label": "nobody"}, {"columns": {"nobody": "count"}}):
        with pytest.raises(ConfigError, match=r"the table has no column 'nobody' \(it has name, age"):
            table(people, **options)


def test_without_a_header_other_separators_and_markers(write):
    data = table(write("f.tsv", "1.5\t-9\n2.5\t4\n-1\t7.5\n"), header=False, separator="\t", missing=[-9], columns=None)
    assert [column.name for column in data.spec.columns] == ["c1", "c2"]
    gaps = data.split("train").batch(torch.arange(3)).x.isnan()
    assert gaps.tolist() == [[False, True], [False, False], [False, False]]


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="parquet needs pyarrow")
def test_parquet_is_read_as_the_same_table(tmp_path, people):
    import pyarrow.csv
    import pyarrow.parquet

    read = pyarrow.csv.ConvertOptions(null_values=["NA", "?", ""], strings_can_be_null=True)
    found = pyarrow.csv.read_csv(people, convert_options=read).rename_columns(
        ["name", "age", "town", "children", "smokes", "income"]
    )
    pyarrow.parquet.write_table(found, tmp_path / "people.parquet")
    one, other = table(people), table(tmp_path / "people.parquet")
    assert one.spec == other.spec
    torch.testing.assert_close(one.complete("train"), other.complete("train"), equal_nan=True)


def test_a_share_is_hidden_and_known(write):
    data = BundledTable(name="wine", hide=0.2)
    x, truth = data.split("train").x, data.complete("train")
    assert 0.17 < float(x.isnan().double().mean()) < 0.23
    assert not truth.isnan().any()
    assert torch.equal(x[~x.isnan()], truth[~x.isnan()])
    assert BundledTable(name="wine").spec.missing is False


@pytest.mark.parametrize(
    ("preset", "extra", "said"),
    [
        ("autoencoder", {}, "reads numbers of one kind, none missing, and the data is mixed"),
        ("gan", {}, "reads numbers of one kind"),
        ("vae", {"model.decoder.use": "gaussian"}, "likelihood needs all values"),
        ("vamp_vae", {"model.decoder": "table"}, "are examples"),
        ("rbm", {}, "reads numbers of one kind"),
        ("hclt", {}, "Bernoulli is a law of binary data, but the data is mixed"),
    ],
)
def test_models_that_cannot_read_a_table_say_so(preset, extra, said):
    found = problems(preset, {"data": {"use": "sklearn_table", "name": "wine", "hide": 0.2}} | extra)
    assert any(said in line for line in found), found
