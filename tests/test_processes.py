"""Two processes are one: gradients, weights, statistics, rows, resumes; and how they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import variata
from variata import ConfigError
from variata.checkpoint import read_tensors
from variata.processes import World, gathered, world

HERE = Path(__file__).parent
SMALL = ["model.latent=2", "model.encoder.network.hidden=[16]", "model.decoder.network.hidden=[16]"]
TWO = [*SMALL, "train.devices=2", "train.checkpoint_every=5", "train.epochs=4"]
slow = pytest.mark.slow


def start(rank: int, count: int, port: int, program: list[str], **options) -> subprocess.Popen:
    surroundings = {
        "RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_RANK": rank,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    env = {**os.environ, **{name: str(value) for name, value in surroundings.items()}}
    return subprocess.Popen([sys.executable, *program], env=env, text=True, stderr=subprocess.PIPE, **options)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def together(count: int, *program: str) -> None:
    """Runs a program in so many processes of one group."""
    port = free_port()
    processes = [start(rank, count, port, list(program)) for rank in range(count)]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, "\n".join(said)


@slow
@pytest.mark.parametrize("case", ["vae", "gan", "coupled", "sharded"])
def test_two_processes_train_as_one(tmp_path, case):
    """Weights and statistics after 20 steps, in float64, and every row of metrics: means over examples, whichever
    process had them. Batches of 8, 8, 8, 8 and 5 do not fall into equal parts."""
    for count in (1, 2):
        together(count, str(HERE / "several.py"), case, str(tmp_path))
    one, two = (json.loads((tmp_path / f"{case}-{count}.json").read_text()) for count in (1, 2))
    assert one["state"].keys() == two["state"].keys()
    for name, values in one["state"].items():
        assert two["state"][name] == pytest.approx(values, abs=1e-9), name
    assert len(one["rows"]) == len(two["rows"]) > 5
    for first, second in zip(one["rows"], two["rows"], strict=True):
        assert first.pop("split") == second.pop("split")
        assert second == pytest.approx(first, rel=1e-9)


@slow
def test_the_sampling_operator_under_torchs_own_wrapper(tmp_path):
    for count in (1, 2):
        together(count, str(HERE / "several.py"), "ddp", str(tmp_path))
    one, two = (json.loads((tmp_path / f"ddp-{count}.json").read_text())["state"] for count in (1, 2))
    assert one.keys() == two.keys()
    for name, values in one.items():
        assert two[name] == pytest.approx(values, abs=1e-12), name


def variata_command(*words: object, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "variata", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    last = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name[5:]))
    return {f"{file.name}/{n}": v for file in last.glob("*.safetensors") for n, v in read_tensors(file).items()}


@slow
def test_two_processes_resume_exactly_wherever_one_was_killed(tmp_path):
    """Killed five times, one of the processes at a time; the other one is ended with a reason, in bounded time."""
    settings = [*TWO[:-1], "train.epochs=60", "data.binarize=dynamic", "train.log_every=7"]
    done = variata_command("train", "vae", *settings, "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    whole = (tmp_path / "run").rename(tmp_path / "whole")
    folder = tmp_path / "run"
    for number in range(5):
        command = [sys.executable, "-m", "variata", "train", "vae", *settings, "--run", str(folder), "--resume", "-q"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        before = len(list(folder.glob("checkpoints/step-*/state.json"))), newest(folder)
        while newest(folder) == before[1]:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.005)
        time.sleep(0.02 * number)
        os.kill(children(process.pid)[number % 2], signal.SIGKILL)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 2, said
        assert "was ended by SIGKILL; the others were stopped" in said
        assert "Traceback" not in said
    done = variata_command("train", "vae", *settings, "--run", folder, "--resume")
    assert done.returncode == 0, done.stderr
    first, second = checkpoint(whole), checkpoint(folder)
    assert first.keys() == second.keys()
    assert {"rank-0.safetensors/generator.cpu", "rank-1.safetensors/generator.cpu"} <= first.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (whole / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()


def newest(folder: Path) -> int:
    return max((int(path.name[5:]) for path in folder.glob("checkpoints/step-*")), default=0)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@slow
def test_torchrun_trains_and_a_signal_stops_all(tmp_path):
    folder = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "variata"]
    command = [*torchrun, "train", "vae", *SMALL, "train.epochs=3", "-r", str(folder)]  # torchrun has a --run-path
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished") == 1
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "validation"] == [13, 26, 39]
    stopped = tmp_path / "stopped"
    command = [sys.executable, "-m", "variata", "train", "vae", *TWO, "train.epochs=100000", "--run", str(stopped)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not newest(stopped):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert "Traceback" not in said
    assert f"to go on: variata train {stopped} --resume" in said
    assert json.loads((stopped / "run.json").read_text())["status"] == "terminated"


@slow
def test_mistakes_are_told_once(tmp_path):
    done = variata_command("train", "vae", *TWO, "model.latent=0", "--run", tmp_path / "a")
    assert done.returncode == 2
    assert done.stderr.count("model.latent") == 1
    chains = ["train.devices=2", "train.epochs=1"]
    coupled = tmp_path / "coupled.py"
    coupled.write_text(
        "import variata\n"
        "class Coupled(variata.OnePhaseLoss):\n"
        "    couples_batch = True\n"
        "    def forward(self, model, batch, now):\n"
        "        return variata.Objective({'a': variata.Term(-model.terms(batch.x).elbo.mean())})\n"
        "@variata.hookimpl\n"
        "def variata_components():\n"
        "    return [variata.Component('loss', 'coupled', Coupled)]\n"
    )
    words = ["loss.use=coupled", *chains, "--plugin", coupled, "--run", tmp_path / "b"]
    done = variata_command("train", "vae", *words)
    assert done.returncode == 2
    reason = "error: train.devices: Coupled couples the examples of a batch and does not gather them"
    assert done.stderr.count(reason) == 1, done.stderr
    assert "Traceback" not in done.stderr
    done = variata_command("train", "vae", *TWO, "train.compile=step", "--run", tmp_path / "c")
    assert done.returncode == 2
    assert done.stderr.count("a step is compiled for one process") == 1


@slow
def test_weights_that_are_cut_train_save_resume_and_load(tmp_path):
    """The run is that of whole weights, and whole when it is loaded."""
    words = [*TWO, "train.ema=0.9", "train.epochs=3", "train.keep=2"]
    assert variata_command("train", "vae", *words, "--run", tmp_path / "whole").returncode == 0
    done = variata_command("train", "vae", *words, "train.strategy=sharded", "--run", tmp_path / "cut")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    one, other = (variata.load(tmp_path / name) for name in ("whole", "cut"))
    for (name, value), again in zip(one.model.named_parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(value, again, atol=1e-5), name
    shutil.copytree(tmp_path / "cut", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "step-39")
    done = variata_command("train", tmp_path / "again", "--resume")
    assert done.returncode == 0, done.stderr
    first, second = checkpoint(tmp_path / "cut"), checkpoint(tmp_path / "again")
    assert all(torch.equal(first[name], second[name]) for name in first)


@slow
def test_chains_belong_to_their_process(tmp_path):
    words = ["model.hidden=8", "train.epochs=1", "train.devices=2", "loss.sparsity={target: 0.1}"]
    done = variata_command("train", "rbm_pcd", *words, "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    saved = checkpoint(tmp_path / "run")
    chains = [saved[f"rank-{rank}.safetensors/buffer.chains.x"] for rank in (0, 1)]
    assert not torch.equal(*chains)
    assert "training.safetensors/loss.activation" in saved
    assert "training.safetensors/loss.chains.x" not in saved


@slow
def test_the_python_interface_starts_processes_too(tmp_path):
    run = variata.train("vae", {"model.latent": 2, "train.epochs": 1, "train.devices": 2}, run=tmp_path / "run")
    assert (run.status, run.metrics[-1]["step"]) == ("finished", 13)
    assert run.model.sample(3).shape == (3, 1, 8, 8)


def test_live_objects_cannot_be_handed_to_other_processes(tmp_path):
    with pytest.raises(ConfigError, match="other processes cannot be handed live objects"):
        variata.train("vae", {"train.devices": 2}, run=tmp_path / "r", data=torch.rand(30, 4).round())
    assert not (tmp_path / "r").exists()


def test_alone_nothing_is_communicated():
    x = torch.randn(3, 2)
    assert world() == World(0, 1)
    assert gathered(x) is x
    assert torch.equal(World().sum(x), x)
    assert (World().gather(5), World().shared(6), World().first_alone(lambda: 7)) == ([5], 6, 7)


def test_the_parts_of_a_batch_are_the_batch():
    index = torch.randperm(101)
    assert torch.equal(torch.cat([World(rank, 4).part(index) for rank in range(4)]), index)
