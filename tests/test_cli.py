"""The command line: what each command prints and leaves, and its exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import variata
from support import SMALL_TEXTS, Ran, of_process, refused
from variata import Component, VariataWarning, registry
from variata.yaml12 import parse

CONCEPTS = Path(__file__).parents[1] / "docs" / "concepts.md"
Run = Callable[..., Ran]


# Without torch

LIGHT = """
import sys
sys.argv = ["variata", *{arguments}]
from variata.cli import main
try:
    main()
except SystemExit as ended:
    assert ended.code == 0, ended.code
print(*(m for m in ("torch", "numpy", "sklearn", "matplotlib") if m in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["list"], ["list", "encoder"], ["list", "preset"], ["plugins"], ["plugins", "--json"]],
)
def test_listing_imports_nothing_heavy(arguments):
    program = LIGHT.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "\n"
    assert done.stdout


def test_python_m_variata_is_the_same_command():
    done = of_process("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"variata {variata.__version__}\n", "")


# list, plugins, show, check


def test_help_names_every_command(command):
    status, out, err = command("--help")
    assert (status, err) == (0, "")
    for name in ("train", "evaluate", "check", "show", "list", "plugins", "schema", "sample", "reconstruct", "inpaint"):
        assert re.search(rf"^  {name} ", out, re.MULTILINE), name


def test_no_arguments_and_unknown_ones_are_answered_with_the_usage(command):
    for arguments in ([], ["--nothing"], ["trian"], ["train"], ["list", "a", "b"], ["schema", "x"]):
        status, out, err = command(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("Usage: ")


def test_list_shows_every_component_and_preset_with_its_plugin(command):
    status, out, err = command("list")
    assert (status, err) == (0, "")
    title, *rows = [line.split("\t") for line in out.splitlines()]
    assert title == ["kind", "name", "what it is", "plugin"]
    shown = {(kind, name) for kind, name, _, _ in rows}
    assert shown >= {(e.component.kind, e.component.name) for e in registry().entries()}
    assert shown >= {("preset", name) for name in registry().presets()}
    assert ["prior", "standard_normal", "N(0, I)", "variata:vae"] in rows
    assert all(what for _, _, what, _ in rows)


def test_list_shows_one_kind_or_suggests_it(command):
    _, out, _ = command("list", "encoder")
    assert {line.split("\t")[0] for line in out.splitlines()[1:]} == {"encoder"}
    assert refused(command("list", "encodr")) == ["there is no kind 'encodr', did you mean encoder?"]


def test_a_component_of_a_kind_that_nobody_declares_is_listed(command):
    with variata.plugin([Component("enigma", "one", object, "of no kind")]):
        status, out, err = command("list")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith("preset")
    assert "enigma\tone\tof no kind\tlocal:inline" in out


def test_a_preset_that_is_no_text_is_listed_all_the_same(command, tmp_path):
    (tmp_path / "broken.yaml").write_bytes(b"# \xff\xfe")

    class Presets:
        @variata.hookimpl
        def variata_presets(self):
            return tmp_path

    with variata.plugin(Presets()):
        status, out, _ = command("list", "preset")
        assert (status, "preset\tbroken\t\tlocal:inline" in out) == (0, True)
        assert refused(command("check", "broken")) == ["preset broken: is not text in UTF-8"]


def test_plugins_says_what_became_of_each(command):
    _, out, _ = command("plugins")
    assert any(line.split("\t")[0] == "variata:vae" or "vae" in line for line in out.splitlines())
    _, out, _ = command("plugins", "--json")
    described = {plugin["name"]: plugin for plugin in json.loads(out)}
    assert described["vae"]["status"] == "loaded"
    assert "encoder/gaussian" in described["vae"]["components"]
    assert "cvae" in described["vae"]["presets"]
    assert described["pictures"]["commands"] == ["sample", "reconstruct", "inpaint"]


def test_show_prints_a_specification_that_reads_back(command, tmp_path):
    status, out, err = command("show", "vae", "loss.beta=4", "seed=3")
    assert (status, err) == (0, "")
    assert parse(out, "shown").plain["loss"]["beta"] == 4.0
    (tmp_path / "shown.yaml").write_text(out)
    status, again, err = command("show", tmp_path / "shown.yaml")
    assert (status, err) == (0, "")
    assert again == "".join(line for line in out.splitlines(keepends=True) if not line.startswith("# It starts from"))
    assert command("show", tmp_path / "shown.yaml", "--diff") == (0, "", "")


def test_check_builds_the_model_and_trains_nothing(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = command("check", "vae", *SMALL_TEXTS)
    assert (status, err) == (0, "")
    assert out == "vae: fine (VAE, 1,156 parameters, x [1, 8, 8], 1,258 to train on)\n"
    assert list(tmp_path.iterdir()) == []


def test_check_sees_that_nothing_is_left_to_train_on(command):
    (line,) = refused(command("check", "vae", "data.test=5000"))
    assert "5180 of 1797 examples are held out, so none is left to train on" in line


# train


def test_training_leaves_the_files_that_the_documentation_lists(command, tmp_path):
    (block,) = re.findall(r"^## A run\n\n```\n(.*?)^```$", CONCEPTS.read_text(), re.DOTALL | re.MULTILINE)
    listed = set(re.findall(r"\w+\.(?:yaml|jsonl?|safetensors|png)\b", block))
    folder = tmp_path / "run"
    status, out, err = command("train", "vae", *SMALL_TEXTS, "--run", folder)
    assert status == 0
    assert out.splitlines()[0] == f"finished: {folder}"
    assert f"  {folder / 'samples.png'}" in out.splitlines()
    assert command("evaluate", folder, "samples=2")[0] == 0
    assert {file.name for file in folder.iterdir()} == listed | {"checkpoints"}
    assert err.startswith("vae  step ")


def test_training_without_a_folder_makes_one_under_runs(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, one, _ = command("train", "vae", *SMALL_TEXTS, "-q")
    _, two, _ = command("train", "vae", *SMALL_TEXTS, "-q")
    folders = [Path(out.splitlines()[0].removeprefix("finished: ")) for out in (one, two)]
    assert folders[0] != folders[1]
    assert all(folder.parent == Path("runs") and folder.name.startswith("vae-") for folder in folders)


def test_progress_goes_to_standard_error_and_quiet_silences_it(command, tmp_path):
    _, out, err = command("train", "vae", *SMALL_TEXTS, "--run", tmp_path / "a")
    assert "step" not in out
    assert re.search(r"^vae  step \d+/13  epoch ", err, re.MULTILINE)
    _, out, err = command("train", "vae", *SMALL_TEXTS, "--run", tmp_path / "b", "--quiet")
    assert err == ""
    assert out.startswith("finished: ")


class Interrupting:
    """Ctrl-C at the second step."""

    @variata.hookimpl
    def variata_step_ended(self, context: variata.RunContext) -> None:
        if context.step == 2:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_training_with_status_130_and_a_run_that_loads(command, tmp_path):
    folder = tmp_path / "run"
    with variata.plugin(Interrupting()):
        status, out, err = command("train", "vae", *SMALL_TEXTS, "--run", folder, "-q")
    assert status == 130
    assert out.startswith(f"interrupted: {folder}\n")
    assert err == ""
    assert json.loads((folder / "run.json").read_text())["step"] == 2
    with pytest.warns(VariataWarning, match=r"training did not reach its end \(interrupted\)"):
        assert variata.load(folder).status == "interrupted"


def test_ctrl_c_elsewhere_is_one_line(command, monkeypatch):
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("variata.api.build", interrupted)
    assert command("check", "vae") == (130, "", "interrupted\n")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.optimizer.lr=-1", "train.optimizer: the optimizer refuses its options: Invalid learning rate: -1.0"),
        ("train.optimizer={use: sgd, nesterov: true}", "train.optimizer: the optimizer refuses its options: Nesterov"),
        ("train.device=meta", "train.device: device 'meta' cannot be used: "),
        ("train.device=cuda:99", "train.device: device 'cuda:99' cannot be used: "),
        ("loss.samples=1000000000", "out of memory in a step of 100 examples in 1 piece: set train.accumulate=2"),
    ],
)
def test_what_only_training_finds_wrong_is_one_line(command, tmp_path, override, line):
    (found,) = refused(command("train", "vae", *SMALL_TEXTS, override, "--run", tmp_path / "run", "-q"))
    assert found.startswith(line)


def test_a_run_that_could_not_start_leaves_its_folder_free(command, tmp_path):
    folder = tmp_path / "run"
    refused(command("train", "vae", *SMALL_TEXTS, "train.optimizer.lr=-1", "--run", folder, "-q"))
    assert command("train", "vae", *SMALL_TEXTS, "--run", folder, "-q")[0] == 0


def test_a_batch_larger_than_any_data_is_all_of_it(command, tmp_path):
    settings = [*SMALL_TEXTS, "train.batch_size=99999999999999999999"]
    assert command("train", "vae", *settings, "--run", tmp_path / "run", "-q")[0] == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["step"] == 1


def test_a_disk_that_is_full_is_one_line(command, tmp_path, monkeypatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "metrics.jsonl")

    monkeypatch.setattr("variata.training.Loop.step", full)
    (line,) = refused(command("train", "vae", *SMALL_TEXTS, "--run", tmp_path / "run", "-q"))
    assert line == "[Errno 28] No space left on device: 'metrics.jsonl'"


# evaluate


def test_evaluate_prints_one_json_object_and_nothing_else(command, run):
    status, out, err = command("evaluate", run, "samples=3", "--json")
    assert (status, err) == (0, "")
    (line,) = out.splitlines()
    metrics = json.loads(line)
    assert list(metrics)[:4] == ["elbo", "reconstruction", "kl", "nll"]
    assert all({"value", "standard_error"} <= set(metric) for metric in metrics.values())
    value = {name: metric["value"] for name, metric in metrics.items()}
    assert value["elbo"] == pytest.approx(value["reconstruction"] - value["kl"], abs=1e-5)
    assert value["elbo"] < 0
    assert value["reconstruction"] < 0
    assert value["nll"] > 0
    assert value["kl"] >= 0
    assert all(metrics[name]["standard_error"] > 0 for name in ("elbo", "reconstruction", "kl", "nll"))


def test_evaluate_prints_a_table_otherwise(command, run):
    status, out, err = command("evaluate", run, "samples=3", "seed=1", "--split", "validation", "plots=false")
    assert (status, err) == (0, "")
    title, *rows = [line.split("\t") for line in out.splitlines()]
    assert title == ["metric", "value", "standard error", "Monte-Carlo error", "the truth is", "measure"]
    rows, notes = [row for row in rows if len(row) > 1], [row for row in rows if len(row) == 1]
    metrics = json.loads((run / "evaluation.json").read_text())["metrics"]
    assert [row[0] for row in rows] == list(metrics)
    assert [row[0] for row in rows[:4]] == ["elbo", "reconstruction", "kl", "nll"]
    assert [row[4] for row in rows[:4]] == [">=", "", "", "<="]
    assert [row[1] for row in rows[:4]] == [f"{metrics[row[0]]['value']:.4f}" for row in rows[:4]]
    assert [note[0].partition(":")[0] for note in notes] == [name for name in metrics if "note" in metrics[name]]


def test_the_same_seed_evaluates_to_the_same_line(command, run):
    one, two = (command("evaluate", run, "samples=2", "seed=3", "plots=false", "--json") for _ in range(2))
    assert one == two


def test_a_data_set_without_test_examples_cannot_be_evaluated(command, tmp_path):
    command("train", "vae", *SMALL_TEXTS, "data.test=0", "--run", tmp_path / "run", "-q")
    assert refused(command("evaluate", tmp_path / "run")) == ["the split has no examples to evaluate"]
    assert refused(command("reconstruct", tmp_path / "run")) == ["the data has no test examples to reconstruct"]


# sample and reconstruct


def sampled(command: Run, run: Path, out: Path, *arguments: object) -> dict[str, np.ndarray]:
    status, printed, err = command("sample", run, "--out", out, *arguments)
    assert (status, printed, err) == (0, f"{out}\n", "")
    with np.load(out, allow_pickle=False) as arrays:
        return dict(arrays)


def test_sample_draws_a_picture_or_numbers(command, run, tmp_path):
    status, out, err = command("sample", run, "--out", tmp_path / "x.png", "-n", 9)
    assert (status, out, err) == (0, f"{tmp_path / 'x.png'}\n", "")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    arrays = sampled(command, run, tmp_path / "x.npz", "-n", 5)
    assert list(arrays) == ["x", "y"], "the conditions that the model drew stand beside its samples"
    assert arrays["x"].shape == (5, 1, 8, 8)
    assert arrays["y"].shape == (5,)
    again = sampled(command, run, tmp_path / "x.npz", "-n", 5, "--condition", ",".join(map(str, arrays["y"])))
    assert list(again["y"]) == list(arrays["y"])
    assert set(np.unique(arrays["x"])) <= {0.0, 1.0}


def test_sampling_repeats_with_its_seed(command, run, tmp_path):
    one, two, other = (sampled(command, run, tmp_path / "x.npz", "--seed", seed)["x"] for seed in (0, 0, 1))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_the_mean_is_a_probability_and_no_draw(command, run, tmp_path):
    x = sampled(command, run, tmp_path / "x.npz", "--mean")["x"]
    assert ((x > 0) & (x < 1)).all()


@pytest.mark.parametrize(
    ("condition", "labels"),
    [
        ("3", [3] * 12),
        ("0..9", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]),
        ("label=0..9", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]),
        ("1,3", [1, 3] * 6),
        ("7..8,0", [7, 8, 0] * 4),
    ],
)
def test_conditions_are_taken_in_turn(command, run, tmp_path, condition, labels):
    arrays = sampled(command, run, tmp_path / "x.npz", "-n", 12, "--condition", condition)
    assert arrays["y"].tolist() == labels
    assert arrays["x"].shape == (12, 1, 8, 8)


@pytest.mark.parametrize("condition", ["", "9..0", "3,", "-1", "label=", "2.5", "10", "0..10"])
def test_conditions_that_are_wrong(command, run, tmp_path, condition):
    (line,) = refused(command("sample", run, "--out", tmp_path / "x.png", "--condition", condition))
    assert line.startswith("--condition: ")
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("out", ["x.gif", "x", "", "nowhere/x.png", "folder.png", "folder.npz"])
def test_places_that_cannot_be_written(command, run, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.npz").mkdir()
    for name in ("sample", "reconstruct"):
        (line,) = refused(command(name, run, "--out", out))
        assert "--out: " in line or line.endswith("cannot be written: Is a directory")


def test_reconstructions_stand_beside_their_examples(command, run, tmp_path):
    status, out, err = command("reconstruct", run, "--out", tmp_path / "x.png")
    assert (status, out, err) == (0, f"{tmp_path / 'x.png'}\n", "")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert command("reconstruct", run, "--out", tmp_path / "x.npz", "-n", 6)[0] == 0
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        test = variata.load(run).data.split("test").batch(torch.arange(6))
        assert np.array_equal(arrays["x"], test.x.numpy())
        assert arrays["reconstruction"].shape == arrays["x"].shape
