"""Evaluation on two processes: the same numbers as on one, whatever the model, and one of them writes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

import variata
from test_annealing import Wrapped, machine
from test_evaluation import Exact, Linear, SelfDrawing
from test_latent_ais import PPCA, measured
from variata import Split
from variata.estimates import EvaluationSettings
from variata.evaluation import evaluate_model, log_likelihoods
from variata.processes import World, alone, joined, world
from variata.shares import gather, in_blocks, own_rows

SETTINGS = EvaluationSettings(samples=5, ais_steps=20, ais_chains=3)


def of_processes(size: int, work: Callable[[], Any], folder: Path) -> list[Any]:
    """What `work` gives on each of so many processes, as JSON."""
    multiprocessing.spawn(_one, (size, work, folder), nprocs=size)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(size)]


def _one(rank: int, size: int, work: Callable[[], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=size)
    try:
        (folder / f"{rank}.json").write_text(json.dumps(work()))
    finally:
        torch.distributed.destroy_process_group()


def evaluations() -> dict[str, Any]:
    """Models of every kind on 1,001 examples; how often each example was seen; and rows of little data."""
    torch.manual_seed(0)
    linear, drawing = Linear(), SelfDrawing()
    with torch.no_grad():
        x = linear.evidence.sample((1001,))
    m = Wrapped(machine(6, 4))
    models = {
        "latent": (linear, x),
        "drawing for itself": (drawing, x[:200]),
        "density": (Exact(linear.evidence), x),
        "energy": (m, torch.bernoulli(torch.full((101, 6), 0.5, dtype=torch.float64))),
        "fewer than processes": (linear, x[:1]),
    }
    found: dict[str, Any] = {"share": [own_rows(1001, 64).start, own_rows(1001, 64).stop]}
    for name, (model, rows) in models.items():
        split = Split(rows, transform=lambda stored: stored)
        found[name] = evaluate_model(model, split, SETTINGS)
        found[f"{name}, each"] = log_likelihoods(model, split, SETTINGS).tolist()
        with alone():
            assert log_likelihoods(model, split, SETTINGS).tolist() == pytest.approx(found[f"{name}, each"], rel=1e-9)
    # Training data whose noise is drawn when it is read.
    noisy = Split(x, transform=lambda stored: stored + torch.rand_like(stored))
    found["noisy"] = log_likelihoods(Exact(linear.evidence), noisy, SETTINGS).tolist()
    model = PPCA()
    found["annealed"] = measured(model, model.generate(70).sample(), steps=4, chains=2, examples=70, simulated=40)
    found["seen"] = gather({"row": torch.arange(1001)[slice(*found["share"])]})["row"].tolist()
    return found


def flat(value: Any, place: str = "") -> dict[str, Any]:
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, part in pairs for k, v in flat(part, f"{place}/{key}").items()}
    return {place: value}


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_the_numbers_do_not_depend_on_the_number_of_processes(tmp_path, size):
    found = of_processes(size, evaluations, tmp_path)
    shares = [each.pop("share") for each in found]
    assert shares[0][0] == 0
    assert shares[-1][1] == 1001
    assert all(before[1] == after[0] for before, after in pairwise(shares))
    whole = json.loads(json.dumps(evaluations()))
    whole.pop("share")
    assert whole["seen"] == list(range(1001))
    expected = flat(whole)
    for each in found:
        assert each == found[0], "every process has the same numbers"
        got = flat(each)
        assert got.keys() == expected.keys()
        for place, value in expected.items():
            same = got[place] == value
            if isinstance(value, float):
                same = same or math.isclose(got[place], value, rel_tol=1e-5, abs_tol=1e-9)
            assert same or place.endswith("note"), (place, got[place], value)


def test_shares_are_whole_blocks_that_follow_each_other(monkeypatch):
    for size in (1, 2, 3, 7):
        for n, block in ((1001, 64), (10, 3), (2, 64), (7, 1)):
            rows: list[int] = []
            for rank in range(size):
                monkeypatch.setattr("variata.shares.world", lambda rank=rank, size=size: World(rank, size))
                own = own_rows(n, block)
                assert own.start % block == 0 or not len(own)
                assert len(own) or rank
                rows += own
            assert rows == list(range(n))


def test_on_one_process_nothing_is_sent_and_blocks_have_draws_of_their_own():
    columns = {"x": torch.arange(3)}
    assert gather(columns)["x"] is columns["x"]
    assert world() == World()
    with joined(torch.device("cpu")):
        assert not torch.distributed.is_initialized()
    before = torch.get_rng_state()
    drawn = in_blocks(10, 4, 0, "test", lambda part: {"u": torch.rand(part.stop - part.start)})["u"]
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn.shape == (10,)
    assert len(drawn.unique()) == 10
    again = in_blocks(8, 4, 0, "test", lambda part: {"u": torch.rand(part.stop - part.start)})["u"]
    assert torch.equal(again, drawn[:8])
    other = in_blocks(8, 4, 0, "another", lambda part: {"u": torch.rand(part.stop - part.start)})["u"]
    assert not torch.equal(other, again)


@pytest.mark.slow
def test_torchrun_evaluates_a_run_on_two_processes_and_one_of_them_speaks(tmp_path, without_pictures):
    run = variata.train("vae", {"train.epochs": 1, "model.latent": 2}, run=tmp_path / "run").path
    metrics = [{"use": "fid", "extractor": "pixels", "samples": 50}]
    arguments = ["evaluate", str(run), "samples=3", "--json", f"metrics={json.dumps(metrics)}"]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "variata"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    two = subprocess.run([*start, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert two.returncode == 0, two.stderr
    written = json.loads((run / "evaluation.json").read_text())["metrics"]
    assert json.loads(two.stdout) == written
    assert (run / "codes.png").is_file()
    one = flat(variata.evaluate(run, samples=3, metrics=metrics))
    for place, value in flat(written).items():
        assert one[place] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), place
