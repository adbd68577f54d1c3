"""`variata compare`: one record of several models, whose figures stand side by side where they may."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import variata
from support import SMALL, of_process, refused
from variata import RunError, load_file, registry
from variata_plugins.comparison import command as command_module
from variata_plugins.comparison.command import carry_out
from variata_plugins.comparison.measures import COINS, Drawn, settings_of
from variata_plugins.comparison.plan import Request, make_plan
from variata_plugins.comparison.record import Budget, Comparison, Figure, read_comparison
from variata_plugins.comparison.statistics import half_width, paired, student_t
from variata_plugins.comparison.tables import tables_of, tidy_csv, wide_csv
from variata_plugins.metrics.nearest import NearestTraining, nearest


def test_log_p_of_each_example_is_kept_and_its_mean_is_the_figure(tmp_path, without_pictures):
    run = variata.train("vae", SMALL, run=tmp_path / "run")
    assert run.log_likelihoods is None
    found = variata.evaluate(run, samples=3, split="validation")
    each = run.log_likelihoods
    assert each is not None
    assert len(each) == len(run.data.split("validation"))
    assert float(-each.mean()) == pytest.approx(found["nll"]["value"], rel=1e-12)
    settings = variata.EvaluationSettings(samples=3)
    expected = variata.log_likelihoods(run.model, run.data.split("validation"), settings)
    assert each.tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert variata.read_log_likelihoods(tmp_path / "run").tolist() == each.tolist()
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["settings"]["split"] == "validation"


METRICS = "metrics=[{use: sample_statistics, samples: 500}, reconstruction_error]"
QUICK = ("--epochs", "1", "--evaluate", "samples=2", "--evaluate", METRICS)


@pytest.fixture(autouse=True)
def without_page(monkeypatch) -> None:
    """It is written for `record`, and its own tests are in test_report.py."""
    monkeypatch.setattr(command_module, "write_report", lambda out: None)


def parts_file(folder: Path) -> Path:
    """A loss that fails at its third step, for `extends: vae`."""
    file = folder / "failing.py"
    file.write_text(
        "import variata\n"
        "from variata_plugins.vae.elbo import ELBO\n"
        "class Failing(variata.OnePhaseLoss):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.inner, self.calls = ELBO(), 0\n"
        "    def forward(self, model, batch, now):\n"
        "        self.calls += 1\n"
        "        if self.calls > 2:\n"
        "            raise RuntimeError('broke at step 3')\n"
        "        return self.inner(model, batch, now)\n"
        "@variata.hookimpl\n"
        "def variata_components():\n"
        "    return [variata.Component('loss', 'failing', Failing, 'fails')]\n"
    )
    return file


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> tuple[Comparison, Path]:
    """Models of several kinds, two seeds each, one of them failing."""
    folder = tmp_path_factory.mktemp("comparison")
    plugin = parts_file(folder)
    load_file(plugin)
    (folder / "failing.yaml").write_text("extends: vae\nloss: {use: failing}\n")
    request = Request(
        models=("vae", "cvae", "gan", str(folder / "failing.yaml"), "spn"),
        seeds=2,
        budget=Budget(kind="epochs", value=1),
    )
    texts = ("samples=2", METRICS)
    off = pytest.MonkeyPatch()
    off.setattr(next(p for p in registry().plugins if p.name == "pictures"), "status", "off")
    try:
        found = carry_out(make_plan(request), settings_of(texts), folder / "out", "variata compare", evaluate=texts)
    finally:
        off.undo()
        for local in [local for local in registry().plugins if local.file is not None]:
            registry().unregister(local)
    return found, folder / "out"


def of(record: Comparison, model: str, metric: str) -> list[Figure]:
    return [figure for figure in record.figures if (figure.model, figure.metric) == (model, metric)]


def test_the_record_reads_back_as_it_was_written(record):
    found, out = record
    assert read_comparison(out) == found
    assert found.complete
    assert (found.budget.kind, found.budget.value, found.seeds) == ("epochs", 1, [0, 1])
    for model in found.models:
        if model.status == "ok":
            assert all((out / run.folder / "spec.yaml").is_file() for run in model.runs)
            assert (out / model.graph).is_file()
            assert (out / model.graph).with_suffix(".png").is_file()
    assert all((out / picture.file).is_file() for picture in found.pictures)
    assert "broke at step 3" in (out / "report.html").read_text(encoding="utf-8")
    assert {picture.what for picture in found.pictures if picture.model == "vae"} == {
        *("samples", "reconstructions", "interpolation", "nearest")
    }


def test_one_failure_is_said_and_loses_nothing_else(record):
    found, out = record
    states = {model.name: model.status for model in found.models}
    assert states == {"vae": "ok", "cvae": "ok", "gan": "ok", "failing": "failed", "spn": "ok"}
    (failing,) = [model for model in found.models if model.name == "failing"]
    assert "broke at step 3" in failing.failure
    assert {figure.absent for figure in found.figures if figure.model == "failing"} == {"failed"}
    assert "- failing: RuntimeError: broke at step 3" in (out / "comparison.md").read_text()


def test_likelihoods_stand_in_one_column_only_where_they_are_of_one_thing(record):
    found, _ = record
    groups = {group.name: group for group in found.groups if group.metric == "nll"}
    assert {name: group.models for name, group in groups.items()} == {
        "p(x); counting, dynamic binarisation": ["vae", "spn"],
        "p(x | y); counting, dynamic binarisation": ["cvae"],
    }
    assert all("knowing y is worth up to its entropy, so" in group.reason for group in groups.values())
    assert {figure.absent for figure in of(found, "gan", "nll")} == {"GAN: no likelihood"}
    assert {figure.kind for figure in of(found, "vae", "nll")} == {"<="}
    assert {figure.kind for figure in of(found, "spn", "nll")} == {"="}
    (table,) = [table for table in tables_of(found) if table.title == "Likelihoods"]
    titles = [column.title for column in table.columns]
    assert titles[:2] == ["-log p(x), nats (1)", "-log p(x), nats (2)"]
    (row,) = [row for row in table.rows if row[0] == "cvae"]
    assert row[1] == "other column"


def test_who_refuses_binary_values_takes_the_same_examples_in_grey_and_says_so(record):
    found, _ = record
    binary, grey = found.data.views
    assert (binary.name, grey.name, grey.models) == ("binary", "grey", ["gan"])
    assert "binary data is not" in grey.reason
    same = {key: value for key, value in binary.options.items() if key != "binarize"}
    assert same == {key: value for key, value in grey.options.items() if key != "binarize"}
    (of_gan, _), (of_vae, _) = of(found, "gan", "sample_distinct"), of(found, "vae", "sample_distinct")
    assert of_gan.group == of_vae.group
    assert COINS in of_gan.note
    assert COINS not in of_vae.note


def test_intervals_over_seeds_are_students_and_apart_from_errors_over_examples(record):
    found, _ = record
    (interval,) = [i for i in found.intervals if (i.model, i.metric) == ("vae", "nll")]
    a, b = [figure.value for figure in of(found, "vae", "nll")]
    assert interval.mean == pytest.approx((a + b) / 2)
    assert interval.half_width == pytest.approx(12.7062 * abs(a - b) / 2, rel=1e-5)  # t of one degree of freedom
    errors = [figure.standard_error for figure in of(found, "vae", "nll")]
    assert interval.standard_error == pytest.approx(sum(errors) / 2)


def test_models_are_compared_by_the_differences_of_the_same_examples(record):
    found, out = record
    (pair,) = found.differences  # the CVAE's is of another thing
    assert (pair.a, pair.b, pair.kind, pair.seeds) == ("vae", "spn", "<=", 2)
    each = {
        (name, seed): variata.read_log_likelihoods(out / "runs" / f"{name}-seed{seed}")
        for name in ("vae", "spn")
        for seed in (0, 1)
    }
    by_seed = [each["spn", seed] - each["vae", seed] for seed in (0, 1)]
    mean = (by_seed[0] + by_seed[1]) / 2
    assert pair.value == pytest.approx(float(mean.mean()))
    assert pair.standard_error == pytest.approx(float(mean.std()) / len(mean) ** 0.5)
    gap = float((by_seed[0].mean() - by_seed[1].mean()).abs())
    assert pair.half_width == pytest.approx(12.7062 * gap / 2, rel=1e-5)


def test_the_csv_has_a_row_for_each_run_and_metric(record):
    found, _ = record
    rows = list(csv.DictReader(io.StringIO(tidy_csv(found))))
    keys = [(row["run"], row["metric"]) for row in rows]
    assert len(set(keys)) == len(keys)
    metrics = {row["metric"] for row in rows}
    assert len(rows) == len(metrics) * sum(len(model.runs) for model in found.models)
    (row,) = [row for row in rows if (row["run"], row["metric"]) == ("runs/vae-seed1", "nll")]
    assert float(row["value"]) == of(found, "vae", "nll")[1].value
    assert all(row["value"] or row["absent"] for row in rows)
    wide = {row["model"]: row for row in csv.DictReader(io.StringIO(wide_csv(found)))}
    name = "nll (p(x); counting, dynamic binarisation)"
    assert wide["gan"][f"{name}: absent"] == "GAN: no likelihood"
    assert float(wide["spn"][name]) == pytest.approx(sum(f.value for f in of(found, "spn", "nll")) / 2)
    assert wide["spn"][f"{name}: kind"] == "="


def test_runs_are_read_as_any_others(record):
    _, out = record
    table = variata.runs(out)
    assert {record.path.name for record in table} >= {"vae-seed0", "vae-seed1", "gan-seed0", "failing-seed0"}
    measured = {(row["run"], row["metric"]) for row in table.rows() if row["split"] == "test"}
    assert {("runs/vae-seed0", "nll"), ("runs/gan-seed1", "sample_distinct")} <= measured


# What is asked again, and what goes on


def test_what_was_done_is_not_done_again(command, tmp_path, without_pictures):
    words = ("compare", "vae", "model.latent=2", *QUICK, "--out", tmp_path / "out")
    status, out, err = command(*words)
    assert (status, out.splitlines()[0]) == (0, str(tmp_path / "out" / "report.html"))
    assert "1/1 vae, seed 0: done" in err
    weights = tmp_path / "out" / "runs" / "vae-seed0" / "model.safetensors"
    before, first = weights.stat().st_mtime_ns, read_comparison(tmp_path / "out")
    status, _, err = command(*words)
    assert (status, "1 of 1 were done before" in err) == (0, True)
    assert weights.stat().st_mtime_ns == before
    assert read_comparison(tmp_path / "out").figures == first.figures
    status, _, err = command(*words, "--seeds", "2")  # one more
    assert (status, "1 of 2 were done before" in err) == (0, True)
    assert weights.stat().st_mtime_ns == before
    lines = refused(command("compare", "vae", "model.latent=3", *QUICK, "--out", tmp_path / "out"))
    assert "vae-seed0: was begun with model.latent=2, and this asks for 3" in lines[0]
    assert lines[-1] == "choose another --out, to keep both"


def test_a_preset_is_one_where_a_folder_has_its_name_too(command, tmp_path, monkeypatch, without_pictures):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vae").mkdir()
    assert command("compare", "vae", "model.latent=2", *QUICK, "-q")[0] == 0
    assert read_comparison(tmp_path / "comparisons" / "vae").models[0].trained_here


def test_a_grid_trains_each_combination_and_runs_may_stand_beside_it(command, tmp_path, without_pictures):
    words = ("compare", "vae", *QUICK, "--out", tmp_path / "sweep", "-q")
    assert command(*words, "--grid", "loss.beta=1,4", "--grid", "model.latent=2,3")[0] == 0
    found = read_comparison(tmp_path / "sweep")
    assert [model.options for model in found.models] == [
        {"loss.beta": beta, "model.latent": latent} for beta in (1, 4) for latent in (2, 3)
    ]
    assert len(found.differences) == 6
    rows = list(csv.DictReader(io.StringIO((tmp_path / "sweep" / "figures.csv").read_text())))
    assert {(row["loss.beta"], row["model.latent"]) for row in rows} == {(b, k) for b in "14" for k in "23"}
    folders = [tmp_path / "sweep" / model.runs[0].folder for model in found.models[:2]]
    before = {folder: sorted(file.name for file in folder.iterdir()) for folder in folders}
    words = ("compare", *folders, "vae", *QUICK, "--out", tmp_path / "again", "-q")
    assert command(*words)[0] == 0
    again = read_comparison(tmp_path / "again")
    assert [model.trained_here for model in again.models] == [False, False, True]
    assert again.models[0].budget == "1 epochs, trained before"
    name = found.models[0].name
    assert of(again, again.models[0].name, "nll")[0].value == of(found, name, "nll")[0].value
    assert {folder: sorted(file.name for file in folder.iterdir()) for folder in folders} == before


def test_runs_that_differ_in_their_seed_alone_are_seeds_of_one_model(command, tmp_path, without_pictures):
    for seed in (3, 5):
        variata.train("vae", {**SMALL, "seed": seed}, run=tmp_path / f"run{seed}")
    words = ("compare", tmp_path / "run3", tmp_path / "run5", *QUICK[2:], "--out", tmp_path / "out", "-q")
    assert command(*words)[0] == 0
    (model,) = read_comparison(tmp_path / "out").models
    assert [run.seed for run in model.runs] == [3, 5]


def test_a_budget_in_seconds_becomes_steps_that_fit(command, tmp_path, without_pictures):
    words = ("compare", "vae", "model.latent=2", "--seconds", "0.3", *QUICK[2:], "--out", tmp_path / "out", "-q")
    assert command(*words)[0] == 0
    found = read_comparison(tmp_path / "out")
    (run,) = found.models[0].runs
    assert (found.budget.kind, found.budget.value) == ("seconds", 0.3)
    assert run.steps >= 1
    spec = variata.load(tmp_path / "out" / run.folder).spec.plain()
    assert run.steps <= spec["train"]["steps"]


def test_ctrl_c_is_said_by_the_exit_status(command, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_module, "perform_all", interrupted)
    status, out, err = command("compare", "vae", "--out", tmp_path / "out")
    assert (status, out) == (130, "")
    assert "stopped; the same command goes on: variata compare vae --out" in err
    assert read_comparison(tmp_path / "out").models[0].status == "skipped"


# What is refused before anything trains


def test_models_that_cannot_share_the_data_are_named_together_with_the_reason(command, tmp_path):
    words = ("vae", "cvae", "gaussian_vae", "data.use=blobs")
    lines = refused(command("compare", *words, "--out", tmp_path / "out"))
    text = "\n".join(lines)
    assert "vae, cvae: cannot share the data" in text
    assert "BernoulliDecoder is a law of binary data, but the data is real-valued" in text
    assert "gaussian_vae" not in text
    assert not (tmp_path / "out").exists()
    run = variata.train("gaussian_vae", {"data.use": "blobs", "train.epochs": 1}, run=tmp_path / "blobs")
    lines = refused(command("compare", "vae", run.path, "--out", tmp_path / "out"))
    assert any("vae: cannot share the data" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("vae", "loss.betta=4"), "command line loss.betta: unknown option, did you mean beta?"),
        (
            ("vae", "--grid", "loss.betta=1,2"),
            "command line loss.betta: vae loss.betta=1, vae loss.betta=2: unknown option",
        ),
        (("vae", "--grid", "loss.beta"), "command line --grid: 'loss.beta' is no axis; write KEY=V1,V2"),
        (("vae", "--grid", "loss.beta=1,1"), "command line --grid loss.beta: names 1 twice"),
        (("vae", "--grid", "seed=1,2"), "--seeds N"),
        (("vae", "--grid", "data.binarize=none,dynamic"), "models are compared on the same data"),
        (("vae", "--grid", "train.epochs=1,2"), "models are compared at the same budget"),
        (("vae", "--grid", "loss.beta=1,two"), "loss.beta"),
        (("vea",), "there is no preset or file 'vea', did you mean vae?"),
        (("nothere.yaml", "vae"), "nothere: there is no file 'nothere.yaml'"),
        (("vae", "vae"), "vae is named twice"),
        (("loss.beta=4",), "name the models to compare"),
        (("vae", "--epochs", "1", "--steps", "2"), "one of them is the budget: --epochs and --steps are given"),
        (("vae", "seed=x"), "must be an integer from 0 (got 'x')"),
        (("vae", "--evaluate", "sampels=2"), "sampels: unknown option, did you mean samples?"),
        (
            ("vae", "--evaluate", "metrics=[{use: fid, samples: 100}]"),
            "FID would hold 100 samples against 359 test examples",
        ),
        (("vae", "--evaluate", "metrics=[{use: kid, samples: 100}]"), "set its samples=359"),
    ],
)
def test_what_cannot_be_compared_is_a_line_each(command, tmp_path, words, message):
    lines = refused(command("compare", *words, "--out", tmp_path / "out"))
    assert message in "\n".join(lines)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(command, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    (line,) = refused(command("compare", "vae", "--out", tmp_path / "mine"))
    assert "is not empty, and no comparison; choose another --out" in line
    with pytest.raises(RunError, match="is mine the --out of a comparison"):
        read_comparison(Path("mine"))


def test_a_split_without_examples_is_refused(command, tmp_path):
    words = ("compare", "vae", "data.validation=0", "--evaluate", "split=validation", "--out", tmp_path / "out")
    (line,) = refused(command(*words))
    assert "the split validation has no examples to compare models on" in line


# Parts of anybody's


class Noise(variata.Sampler):
    """Can draw, and nothing else."""

    def __init__(self, data):
        super().__init__(data)
        self.level = torch.nn.Parameter(torch.zeros(()))

    def sample(self, n, condition=None):
        return torch.bernoulli(self.level.sigmoid().expand(n, *self.spec.shape))


class Level(variata.OnePhaseLoss):
    def forward(self, model, batch, now):
        return variata.Objective({"level": variata.Term((model.level.sigmoid() - batch.x.flatten(1).mean(1)).square())})


class Broken(variata.Metric):
    def measure(self, model, data, settings):
        return {"broken": 1 / 0}


def test_models_and_metrics_of_anybody_are_compared_and_what_breaks_is_a_reason(command, tmp_path, without_pictures):
    file = tmp_path / "noise.yaml"
    file.write_text("data: {use: digits, binarize: dynamic}\nmodel: noise\nloss: level\ntrain: {epochs: 1}\n")
    parts = [variata.Component("model", "noise", Noise), variata.Component("loss", "level", Level)]
    words = ("compare", file, "gan", "--epochs", "1", "--out", tmp_path / "out", "-q", "--evaluate")
    with variata.plugin([*parts, variata.Component("metric", "broken", Broken)]):
        status, _, err = command(
            *words, "metrics=[broken, {use: sample_statistics, samples: 1500}, reconstruction_error]"
        )
    assert (status, err) == (0, "")
    found = read_comparison(tmp_path / "out")
    assert found.models[0].capabilities == ["Sampler"]
    assert of(found, "noise", "sample_distinct")[0].value == 1.0  # none is drawn twice
    assert of(found, "noise", "Broken")[0].absent == "Noise: ZeroDivisionError: division by zero"
    assert of(found, "noise", "reconstruction_mse")[0].absent == "Noise: no reconstructions"
    assert found.models[0].note == 'its own configuration says data.binarize="dynamic"'  # grey is what both can take
    assert [view.name for view in found.data.views] == ["grey"]
    assert (tmp_path / "out" / found.models[0].graph).is_file()


def test_data_that_a_configuration_asked_for_and_did_not_get_is_said(command, tmp_path, without_pictures):
    words = ("compare", "vae", "ae", "model.latent=2", *QUICK, "--out", tmp_path / "out", "-q")
    assert command(*words)[0] == 0
    found = read_comparison(tmp_path / "out")
    assert [model.note for model in found.models] == ["", 'its own configuration says data.binarize="none"']
    assert found.data.views[0].models == ["vae", "ae"]
    assert [group.models for group in found.groups if group.metric == "reconstruction_mse"] == [["vae", "ae"]]


# The mathematics


def test_quantiles_of_students_t_are_those_of_the_tables():
    expected = {1: 12.7062, 2: 4.30265, 4: 2.77645, 9: 2.26216, 30: 2.04227}
    assert {df: student_t(0.975, df) for df in expected} == pytest.approx(expected, rel=1e-5)
    assert half_width([1.0]) is None
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(4.30265 / 3**0.5, rel=1e-5)


def test_paired_differences_leave_out_what_is_hard_for_both():
    generator = torch.Generator().manual_seed(0)
    hard = 100 * torch.randn(1000, generator=generator, dtype=torch.float64)
    a, b = (hard + shift + 0.1 * torch.randn(1000, generator=generator, dtype=torch.float64) for shift in (1.0, 0.0))
    value, error, width = paired([a], [b])
    assert (value, width) == (pytest.approx(1.0, abs=0.02), None)
    assert error == pytest.approx(0.1 * 2**0.5 / 1000**0.5, rel=0.1)


class Fixed(variata.Sampler):
    """Gives what it was told to."""

    def __init__(self, spec, x):
        super().__init__(spec)
        self.x = x

    def sample(self, n, condition=None):
        return self.x.repeat(-(-n // len(self.x)), *[1] * (self.x.ndim - 1))[:n]


def test_copies_of_training_examples_are_seen_and_new_draws_are_not():
    grey = variata.build_data({"use": "digits"})
    train, test = (torch.cat([b.x for b in grey.split(name).batches(500)]) for name in ("train", "test"))
    settings = variata.EvaluationSettings()

    def ratio(x):
        metric = NearestTraining(samples=len(x))
        return metric.measure(Fixed(grey.spec, x), grey, settings)["nearest_training_ratio"]["value"]

    assert ratio(train[:500]) == pytest.approx(0, abs=1e-6)
    assert ratio(test) == pytest.approx(1)
    assert ratio(torch.rand(300, 1, 8, 8)) > 1.5
    x, centres = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 1.0], [3.0, 4.0], [9.0, 9.0]])
    distances, rows = nearest(x, centres)
    assert (distances.tolist(), rows.tolist()) == ([1.0, 0.0], [0, 1])


def test_grey_samples_are_coins_of_the_right_probability():
    grey, binary, steep = (
        variata.build_data({"use": "digits", "binarize": how}).spec for how in ("none", "dynamic", "threshold")
    )
    x = torch.full((20_000, 1, 8, 8), 0.25)
    x[:, :, :4] = 1.0
    coins = Drawn(Fixed(grey, x), binary, x).sample(20_000)
    assert set(coins.unique().tolist()) == {0.0, 1.0}
    assert bool((coins[:, :, :4] == 1).all())
    assert float(coins[:, :, 4:].mean()) == pytest.approx(0.25, abs=0.005)
    assert float(Drawn(Fixed(grey, x), steep, x).sample(10).mean()) == 0.5
    drawn = Drawn(Fixed(grey, x), grey, torch.rand(3, 1, 8, 8))
    first = drawn.sample(2)
    assert torch.equal(torch.cat([first, drawn.sample(1)]), drawn.again().sample(3))  # one after the other


# Kills and processes


def without_times(record: Comparison) -> list[Figure]:
    return [figure for figure in record.figures if figure.unit != "seconds"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_what_was_stopped_goes_on_and_ends_with_the_same_figures(tmp_path, number):
    words = ["compare", "vae", "rbm", "train.checkpoint_every=20", "--epochs", "60", *QUICK[2:4], "--evaluate"]
    words += [METRICS, "--out"]
    program = [sys.executable, "-m", "variata", *words, str(tmp_path / "stopped")]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    checkpoints = tmp_path / "stopped" / "runs" / "rbm-seed0" / "checkpoints"
    while not checkpoints.is_dir() or not list(checkpoints.glob("step-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "stopped; the same command goes on: variata compare vae rbm" in err
    begun = read_comparison(tmp_path / "stopped")
    assert [model.status for model in begun.models] == ["ok", "skipped"]
    assert not begun.complete
    again = of_process(*words, str(tmp_path / "stopped"))
    assert again.returncode == 0, again.stderr
    assert "1 of 2 were done before" in again.stderr
    whole = of_process(*words, str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    assert without_times(read_comparison(tmp_path / "stopped")) == without_times(read_comparison(tmp_path / "whole"))


@pytest.mark.slow
def test_processes_find_what_one_finds_and_one_that_dies_takes_nothing_with_it(tmp_path):
    file = parts_file(tmp_path)
    file.write_text(
        file.read_text().replace(
            "raise RuntimeError('broke at step 3')", "__import__('os').kill(__import__('os').getpid(), 9)"
        )
    )
    (tmp_path / "dying.yaml").write_text("extends: vae\nloss: {use: failing}\n")
    words = ["compare", "vae", "rbm", "gan", *QUICK]
    both = of_process(*words, tmp_path / "dying.yaml", "--plugin", file, "--jobs", "2", "--out", tmp_path / "two")
    one = of_process(*words, "--out", tmp_path / "one")
    assert (both.returncode, one.returncode) == (1, 0), both.stderr
    found = read_comparison(tmp_path / "two")
    assert [model.status for model in found.models] == ["ok", "ok", "ok", "failed"]
    assert "its process was ended by SIGKILL" in found.models[-1].failure
    others = [figure for figure in without_times(found) if figure.model != "dying"]
    assert others == without_times(read_comparison(tmp_path / "one"))
