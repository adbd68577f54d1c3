"""A run that is killed and resumed is the run that was not: weights bit for bit, and every row once."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import variata
from variata import RunError
from variata.checkpoint import read_tensors

SMALL = {"model.latent": 2, "model.encoder.network.hidden": [16], "model.decoder.network.hidden": [16]}
VAE = {**SMALL, "train.epochs": 4, "train.checkpoint_every": 5, "train.ema": 0.9, "train.validate_steps": 7}
RBM = {"model.hidden": 8, "train.epochs": 3, "train.checkpoint_every": 5, "data.binarize": "dynamic"}
RBM |= {"loss.sparsity": {"target": 0.1}}


@pytest.fixture(autouse=True)
def _no_pictures(without_pictures):
    """They are tested elsewhere."""


class Stopped(BaseException):
    """What a test ends training with, in place of a kill."""


def stop_at(step, preset, settings, folder, monkeypatch, **live):
    def after(self, batch, share=None, of=None, step_of_loop=variata.training.Loop.step):
        step_of_loop(self, batch, share, of)
        if self.clock.step == step:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr("variata.training.Loop.step", after)
        with pytest.raises(Stopped):
            variata.train(preset, settings, run=folder, **live)


def files(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the last checkpoint, and of the model."""
    last = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name[5:]))
    found = {f"model/{k}": v for k, v in read_tensors(folder / "model.safetensors").items()}
    for file in last.glob("*.safetensors"):
        found |= {f"{file.name}/{name}": value for name, value in read_tensors(file).items()}
    return found


def assert_equal_runs(one: Path, other: Path) -> None:
    first, second = files(one), files(other)
    assert first.keys() == second.keys()
    unequal = [name for name in first if not torch.equal(first[name], second[name])]
    assert not unequal
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    assert (one / "spec.yaml").read_text() == (other / "spec.yaml").read_text()


@pytest.mark.parametrize(("preset", "settings"), [("vae", VAE), ("rbm_pcd", RBM)])
@pytest.mark.parametrize("step", [3, 12, 13, 30])
def test_what_was_stopped_goes_on_exactly(tmp_path, monkeypatch, preset, settings, step):
    variata.train(preset, settings, run=tmp_path / "whole")
    stop_at(step, preset, settings, tmp_path / "cut", monkeypatch)
    variata.train(tmp_path / "cut", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "cut")


def test_python_and_numpy_generators_are_part_of_it(tmp_path, monkeypatch):
    class Drawing(variata.OnePhaseLoss):
        """Draws from every generator that there is."""

        requires = variata.LatentVariable

        def forward(self, model, batch, now):
            import random

            import numpy as np

            noise = random.random() + np.random.rand() + float(torch.rand(()))
            return variata.Objective({"elbo": variata.Term(-model.terms(batch.x).elbo, scale=noise)})

    with variata.plugin([variata.Component("loss", "drawing", Drawing)]):
        settings = {**VAE, "loss.use": "drawing", "train.validate_steps": None}
        variata.train("vae", settings, run=tmp_path / "whole")
        stop_at(17, "vae", settings, tmp_path / "cut", monkeypatch)
        variata.train(tmp_path / "cut", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "cut")


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch, variata
torch.set_num_threads(1)
preset, settings, folder, kills, seed = eval(sys.argv[1])
folder, chance, done = Path(folder), random.Random(seed), 0
variata.build(preset, settings)  # everything is imported before the first fork
in_writing = 0
while True:
    child = os.fork()
    if not child:
        try:
            variata.train(preset, settings, run=folder, resume=True)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if done < kills and done % 3 == 2:  # in the middle of writing a checkpoint
        while not list(folder.glob("checkpoints/.step-*.part")) and os.waitpid(child, os.WNOHANG) == (0, 0):
            pass
        time.sleep(chance.random() * 0.004)
    elif done < kills:
        time.sleep(chance.random() * 0.5)
    if done < kills:
        done += 1
        in_writing += bool(list(folder.glob("checkpoints/.step-*.part")))
        try:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            continue
        except (ProcessLookupError, ChildProcessError):
            print("it ended before it was killed", file=sys.stderr)
            sys.exit(3)
    status = os.waitpid(child, 0)[1]
    print(done, in_writing)
    sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "settings"), [("vae", VAE), ("rbm_pcd", RBM)])
def test_killed_at_twenty_random_moments_it_is_the_run_that_was_not(tmp_path, preset, settings):
    settings = {**settings, "train.epochs": 150, "train.checkpoint_every": 11, "train.log_every": 13}
    settings = {name: value for name, value in settings.items() if name != "train.validate_steps"}
    variata.train(preset, settings, run=tmp_path / "run")
    whole = (tmp_path / "run").rename(tmp_path / "whole")
    arguments = repr((preset, settings, str(tmp_path / "run"), 20, 1))
    done = subprocess.run([sys.executable, "-c", KILLER, arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills, in_writing = map(int, done.stdout.split())
    assert kills == 20
    assert in_writing > 0
    assert_equal_runs(whole, tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "name"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_saves_and_says_how_to_resume(tmp_path, number, status, name):
    folder = tmp_path / "run"
    settings = [f"{key}={value}" for key, value in {**SMALL, "train.epochs": 200}.items()]
    command = [sys.executable, "-m", "variata", "train", "vae", *settings]
    process = subprocess.Popen([*command, "--run", str(folder)], stderr=subprocess.PIPE, text=True)
    while not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").stat().st_size:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    assert process.returncode == status, said
    assert f"to go on: variata train {folder} --resume" in said
    assert "Traceback" not in said
    assert json.loads((folder / "run.json").read_text())["status"] == name
    subprocess.run([*command[:4], str(folder), "--resume", "--quiet"], check=True, capture_output=True)
    subprocess.run([*command, "--run", str(tmp_path / "whole"), "--quiet"], check=True, capture_output=True)
    assert_equal_runs(tmp_path / "whole", folder)


def test_a_longer_run_may_be_asked_for_and_nothing_else(tmp_path, command):
    folder = tmp_path / "run"
    variata.train("vae", {**SMALL, "train.epochs": 2}, run=folder)
    run = variata.train(folder, {"train.epochs": 3}, resume=True)
    assert run.metrics[-1]["epoch"] == 3
    assert [row["epoch"] for row in run.metrics if row["split"] == "validation"] == [1, 2, 3]
    status, _, err = command("train", folder, "--resume", "loss.beta=2", "train.batch_size=50")
    assert status == 2
    assert "loss.beta: 1.0 -> 2" in err
    assert "train.batch_size: 100 -> 50" in err
    assert variata.load(folder).spec["train"].options["epochs"] == 3
    status, _, err = command("train", folder, "--resume", "train.epochs=1")
    assert status == 2
    assert "train.epochs: 3 -> 1" in err


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    run = variata.train("vae", {**SMALL, "train.epochs": 1}, run=tmp_path / "r")
    before = files(tmp_path / "r")
    again = variata.train(tmp_path / "r", resume=True)
    assert again.status == run.status == "finished"
    assert all(torch.equal(before[name], value) for name, value in files(tmp_path / "r").items())


def test_resuming_what_never_began_begins(tmp_path, command):
    assert variata.train("vae", {**SMALL, "train.epochs": 1}, run=tmp_path / "r", resume=True).status == "finished"
    assert command("train", "vae", "--resume")[0] == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    status, _, err = command("train", "vae", "--resume", "--run", tmp_path / "other")
    assert status == 2
    assert "is not empty, and is no run" in err
    assert (tmp_path / "other" / "letter.txt").read_text() == "dear"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_at(13, "vae", {**VAE, "train.validate_steps": None}, folder, patch)
    return folder


def damage(kind: str, file: Path) -> None:
    tensors = read_tensors(file)
    first = next(iter(tensors))
    match kind:
        case "cut":
            file.write_bytes(file.read_bytes()[:-7])
        case "pickle":
            torch.save(tensors, file)
        case "missing":
            save_file({name: value for name, value in tensors.items() if name != first}, file)
        case "unexpected":
            save_file({**tensors, "more": torch.zeros(2)}, file)
        case "shape":
            save_file({**tensors, first: torch.zeros(3, 5, 7)}, file)
        case "gone":
            file.unlink()


@pytest.mark.parametrize("kind", ["cut", "pickle", "missing", "unexpected", "shape", "gone"])
@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "rank-0.safetensors"])
def test_a_damaged_checkpoint_is_refused_by_name(stopped, tmp_path, command, kind, name):
    folder = shutil.copytree(stopped, tmp_path / "run")
    damage(kind, folder / "checkpoints" / "step-10" / name)
    status, _, err = command("train", folder, "--resume")
    assert status == 2, err
    assert f"step-10/{name}" in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err


@pytest.mark.parametrize("name", ["state.json", "rank-0.json"])
@pytest.mark.parametrize("content", [None, "", "{}", "[1", '{"step": "x"}'])
def test_a_damaged_state_is_refused_by_name(stopped, tmp_path, command, name, content):
    folder = shutil.copytree(stopped, tmp_path / "run")
    file = folder / "checkpoints" / "step-10" / name
    file.unlink() if content is None else file.write_text(content)
    status, _, err = command("train", folder, "--resume")
    assert status == 2, err
    assert f"step-10/{name}: is missing or damaged" in err


def test_a_full_disk_ends_the_run_and_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    """The disk is full from the second checkpoint on."""
    written = []

    def full(tensors, path):
        written.append(path)
        if "step-10" in path:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr("variata.checkpoint.save_file", full)
    with pytest.raises(RunError, match=r"step-10.*cannot be written: No space left on device"):
        variata.train("vae", VAE, run=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-5"]
    monkeypatch.undo()
    variata.train("vae", VAE, run=tmp_path / "whole")
    variata.train(tmp_path / "run", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path):
    """A small file system in memory, where one can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    size = "4m"
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True, check=False
    ).returncode:
        pytest.skip("a file system can be mounted by root alone")
    try:
        settings = [f"{key}={value}" for key, value in {"train.checkpoint_every": 5, "train.keep": 99}.items()]
        command = [sys.executable, "-m", "variata", "train", "vae", *settings, "--run", str(disk / "run"), "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert "cannot be written: " in done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        kept = [path for path in (disk / "run" / "checkpoints").iterdir() if not path.name.startswith(".")]
        assert kept
        for checkpoint in kept:
            for file in checkpoint.glob("*.safetensors"):
                read_tensors(file)
    finally:
        subprocess.run(["umount", disk], check=True)
