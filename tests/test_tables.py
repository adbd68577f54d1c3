"""Tables: laws against scipy and their sums, gaps that change nothing, files and their mistakes, imputation against the
exact conditional mean."""

from __future__ import annotations

import csv
import importlib.util
import math

import numpy as np
import pytest
import scipy.stats
import torch

import variata
from support import problems, refused
from variata import Column, ConfigError, DataError, DataSpec, Features, Unsupported
from variata_plugins.tables.bundled import BundledTable
from variata_plugins.tables.decoder import TableDecoder, negative_binomial
from variata_plugins.tables.imputation import impute
from variata_plugins.tables.law import RowLaw
from variata_plugins.tables.table import Table

MIXED = DataSpec(
    (4,),
    "mixed",
    low=-math.inf,
    high=math.inf,
    measure="mixed",
    columns=(
        Column("calls", "count", mean=2.0),
        Column("age", "numeric"),
        Column("town", "categorical", ("a", "b", "c")),
        Column("sex", "categorical", ("f", "m")),
    ),
    missing=True,
)


class Linear(variata.Network):
    def __init__(self, input, output, condition=None):
        super().__init__(input, output, condition)
        self.map = torch.nn.Linear(input[0], output[0])

    def forward(self, x, y):
        return self.map(x)


def decoder(**options) -> TableDecoder:
    return TableDecoder(MIXED, 2, None, network=Linear, **options).double()


# The law of a row


@pytest.mark.parametrize(("mean", "size"), [(0.3, 0.5), (7.0, 2.5), (40.0, 1000.0)])
def test_the_law_of_counts_is_scipys_and_sums_to_one(mean, size):
    law = negative_binomial(torch.tensor(mean).log(), torch.tensor(size).log())
    k = torch.arange(2000, dtype=torch.float64)
    expected = scipy.stats.nbinom.logpmf(k.numpy(), float(law.total_count), 1 - float(law.probs))
    np.testing.assert_allclose(law.log_prob(k).numpy(), expected, rtol=1e-9, atol=1e-9)
    p = law.log_prob(k).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-10)
    assert float((p * k).sum()) == pytest.approx(mean, rel=1e-6)
    assert float((p * k * k).sum() - (p * k).sum() ** 2) == pytest.approx(mean + mean**2 / size, rel=1e-6)


@pytest.mark.parametrize("scale", ["per_column", "per_output"])
def test_log_p_of_a_row_is_the_sum_of_its_columns(scale):
    part = decoder(scale=scale)
    part.offset.copy_(torch.randn(6))
    z = torch.randn(2, dtype=torch.float64)
    x = torch.tensor([3.0, -0.4, 2.0, 1.0], dtype=torch.float64)
    mu, logits, log_mean, *free = (part.network(z).detach()).split(part.sizes)
    logits, log_mean = logits + part.offset[:5], log_mean + part.offset[5:]
    logvar, log_size = free if scale == "per_output" else (part.logvar.detach(), part.log_size.detach())
    m, r = log_mean.exp().item(), log_size.exp().item()
    expected = scipy.stats.norm.logpdf(-0.4, mu.item(), math.sqrt(logvar.exp().item() + 0.01**2))
    expected += scipy.stats.nbinom.logpmf(3, r, r / (r + m))
    expected += float(logits[:3].log_softmax(0)[2] + logits[3:].log_softmax(0)[1])
    assert part(z).log_prob(x).item() == pytest.approx(expected, abs=1e-10)


def test_poisson_counts_are_scipys():
    with torch.no_grad():
        law = decoder(counts="poisson")(torch.zeros(2, dtype=torch.float64))
    x = torch.tensor([4.0, math.nan, math.nan, math.nan], dtype=torch.float64)
    assert float(law.log_prob(x)) == pytest.approx(scipy.stats.poisson.logpmf(4, float(law.mean[0])), abs=1e-10)


def test_levels_of_a_row_sum_to_one():
    law = decoder()(torch.randn(2, dtype=torch.float64))
    rows = torch.tensor([[math.nan, math.nan, a, b] for a in range(3) for b in range(2)], dtype=torch.float64)
    assert law.log_prob(rows).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_what_is_missing_adds_nothing_and_carries_no_gradient():
    part = decoder()
    z = torch.randn(5, 2, dtype=torch.float64)
    x = torch.tensor([[1.0, 0.3, 2.0, 1.0]] * 5, dtype=torch.float64)
    of_columns = part(z).log_prob_of_columns(x)
    for place in range(4):
        gap = x.clone()
        gap[:, place] = math.nan
        left = [i for i in range(4) if i != place]
        torch.testing.assert_close(part(z).log_prob(gap), of_columns[:, left].sum(1))
        part.zero_grad()
        part(z).log_prob(gap).sum().backward()
        rows = {0: [6], 1: [0], 2: [1, 2, 3], 3: [4, 5]}  # what the network gives each column
        gradient = part.network.map.weight.grad
        assert gradient.isfinite().all()
        for column, outputs in rows.items():
            assert bool((gradient[outputs] == 0).all()) == (column == place)


def test_samples_and_best_guesses_are_values_of_their_columns():
    law = decoder()(torch.randn(300, 2, dtype=torch.float64))
    for x in (law.sample(), law.mean):
        assert ((x[:, 2:] >= 0) & (x[:, 2:] < torch.tensor([3, 2])) & (x[:, 2:] == x[:, 2:].round())).all()
    assert ((law.sample()[:, 0] >= 0) & (law.sample()[:, 0] % 1 == 0)).all()


def test_features_show_levels_counts_and_what_is_there():
    features = Features(MIXED)
    x = torch.tensor([[2.0, -1.5, 1.0, 0.0], [5.0, math.nan, math.nan, 1.0]])
    seen = features(x)
    assert features.spec.shape == (11,)
    assert features.spec.regular
    none, two = 0.0, math.log(6 / 3)
    expected = [[none, -1.5, 0, 1, 0, 1, 0, 1, 1, 1, 1], [two, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1]]
    torch.testing.assert_close(seen, torch.tensor(expected, dtype=seen.dtype))


# Imputation


def linear_gaussian(noise: float) -> tuple[variata.LatentVariable, torch.Tensor, torch.Tensor, torch.Tensor]:
    """pPCA of 5 columns, of which the last two are missing; its encoder is the exact posterior given the first three,
    with `noise` added to its log variances."""
    spec = DataSpec((5,), "real", low=-math.inf, high=math.inf, measure="lebesgue", missing=True)
    columns = tuple(Column(f"x{i}", "numeric") for i in range(5))
    spec = DataSpec(spec.shape, "real", low=spec.low, high=spec.high, measure="lebesgue", columns=columns, missing=True)
    plain = {"network": {"use": "mlp", "hidden": []}}
    config = {
        "data": {"use": "sklearn_table", "name": "iris"},
        "model": {
            "use": "vae",
            "latent": 2,
            "encoder": {"use": "gaussian", **plain},
            "decoder": {"use": "table", "floor": 1e-6, **plain},
        },
        "loss": "elbo",
        "train": {"epochs": 1},
    }
    from variata.assembly import assemble
    from variata.config import load_spec

    model = assemble(load_spec(config), spec).model.double().eval()
    torch.manual_seed(1)
    w = torch.linalg.qr(torch.randn(3, 2, dtype=torch.float64)).Q  # orthogonal: the posterior is diagonal
    w, variance = torch.cat([1.5 * w, torch.randn(2, 2, dtype=torch.float64)]), 0.3
    x = torch.randn(2, 2, dtype=torch.float64) @ w.T + 0.5 * torch.randn(2, 5, dtype=torch.float64)
    x[:, 3:] = math.nan
    precision = w[:3].T @ w[:3] / variance + torch.eye(2, dtype=torch.float64)
    gain = torch.linalg.solve(precision, w[:3].T / variance)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.decoder.network.last.weight[:5] = w
        model.decoder.logvar.fill_(math.log(variance))
        model.encoder.network.last.weight[:2, :3] = gain
        model.encoder.network.last.bias[2:] = -precision.diagonal().log() + noise
    mean = x[:, :3] @ gain.T @ w[3:].T
    covariance = w[:3] @ w[:3].T + variance * torch.eye(3, dtype=torch.float64)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=torch.float64), covariance).log_prob(
        x[:, :3]
    )
    return model, x, mean, evidence


def test_with_the_exact_posterior_every_weight_is_p_of_what_is_there():
    model, x, _, evidence = linear_gaussian(0.0)
    weights = model.terms(x, samples=7).log_weights()
    torch.testing.assert_close(weights, evidence.expand(7, -1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_imputed_values_come_to_the_exact_conditional_mean(noise):
    model, x, mean, _ = linear_gaussian(noise)
    found, effective = impute(model, x, samples=60_000)
    assert torch.equal(found[:, :3], x[:, :3])
    assert (found[:, 3:] - mean).abs().max() < 0.02  # five standard errors
    assert ((effective > 1) & (effective <= 60_000.1)).all()
    assert bool((effective > 59_999).all()) == (noise == 0)


def test_draws_have_the_conditional_law():
    model, x, mean, _ = linear_gaussian(0.5)
    drawn = torch.stack([impute(model, x[:1], samples=50, draw=True).x[0, 3:] for _ in range(600)])
    w = model.decoder.network.last.weight.detach()[:5]
    of_z = (w[:3].T @ w[:3] / 0.3 + torch.eye(2, dtype=torch.float64)).inverse()
    spread = w[3:] @ of_z @ w[3:].T + 0.3 * torch.eye(2, dtype=torch.float64)
    error = (spread.diagonal() / 600).sqrt()
    assert ((drawn.mean(0) - mean[0]).abs() < 5 * error).all()
    assert ((drawn.var(0) / spread.diagonal() - 1).abs() < 0.35).all()


def test_a_circuit_imputes_by_its_exact_conditionals(tmp_path):
    data = {"use": "sklearn_table", "name": "iris", "columns": {"target": "ignore"}}
    run = variata.train("gaussian_mixture", {"data": data, "train.epochs": 2}, run=tmp_path / "run")
    x = run.data.split("test").batch(torch.arange(4)).x
    x[:, 1] = math.nan
    found = impute(run.model, x, samples=30).x
    assert not found.isnan().any()
    assert torch.equal(found[:, [0, 2, 3]], x[:, [0, 2, 3]])


@pytest.mark.parametrize("structure", [{"use": "mixture", "units": 4}, {"use": "hclt", "units": 4}])
def test_circuits_learn_from_rows_with_gaps(tmp_path, structure):
    data = {"use": "sklearn_table", "name": "iris", "columns": {"target": "ignore"}, "hide": 0.3}
    model = {"use": "circuit", "structure": structure, "leaves": "gaussian"}
    config = {"data": data, "model": model, "loss": "nll", "train": {"epochs": 3}}
    assembly = variata.build(config)
    variata.prepare(assembly.model, assembly.data)
    train = assembly.data.split("train")
    x = train.batch(torch.arange(len(train))).x
    before = assembly.model.log_prob(x)
    assert before.isfinite().all()
    run = variata.train_assembly(assembly, run=tmp_path / "run")
    assert run.model.log_prob(x).mean() > before.mean()
    torch.testing.assert_close(run.model.log_prob(x), run.model.log_marginal(x.nan_to_num(0.0), ~x.isnan()))


def test_trees_count_the_pairs_that_are_there(write):
    from variata_plugins.circuits.trees import gaussian_information, joint

    x = torch.tensor([[0.0, 1.0], [1.0, 1.0], [math.nan, 0.0], [1.0, 0.0]], dtype=torch.float64)
    spec = DataSpec((2,), "binary", levels=2, missing=True)
    found = joint([variata.Batch(x)], spec, 0.0)
    torch.testing.assert_close(found[0, 1], torch.tensor([[0, 1], [1, 1]], dtype=torch.float64) / 3)
    torch.testing.assert_close(found[1, 1].diagonal(), torch.tensor([0.5, 0.5], dtype=torch.float64))
    z = torch.randn(500, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64)
    expected = -0.5 * torch.log1p(-torch.corrcoef(z[:400].T)[0, 1].square())
    z[400:, 1] = math.nan
    torch.testing.assert_close(gaussian_information([variata.Batch(z)])[0, 1], expected)


# Files


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


# What other models make of tables


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


# Commands


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


def test_the_law_of_a_row_needs_no_table():
    law = TableDecoder(DataSpec((3,), "real"), 2, None, network=Linear)(torch.zeros(4, 2))
    assert isinstance(law, RowLaw)
    assert law.log_prob(torch.zeros(4, 3)).shape == (4,)
