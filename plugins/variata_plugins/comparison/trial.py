"""One trial: a model is trained from one seed, or read where it is trained already, and measured. What it found lies in
a file of its own, so that a comparison that was stopped goes on with what is missing."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor

import variata
from variata import (
    Autoencoder,
    Chain,
    Classifier,
    Data,
    Density,
    Energy,
    LatentVariable,
    Marginals,
    Run,
    Sampler,
    UserError,
    build,
    build_data,
    load,
    train,
)
from variata_plugins.graphs.png import render_png
from variata_plugins.graphs.structure import graph_of
from variata_plugins.graphs.svg import render_svg

from .drawing import draw
from .measures import Measured, drawn_by_coins, measured, settings_of
from .record import Figure, Picture, RunOf

_CAPABILITIES = (Sampler, Autoencoder, LatentVariable, Density, Marginals, Energy, Chain, Classifier)
_POINTS = 100
_SHARE_OF_TRIAL = 0.1


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a trial does; it can be sent to another process.

    Attributes:
        name: of the model.
        source, texts: its configuration with everything that overrides it; a run that is trained already has none.
        out: of the comparison. `stem`: what the trial's files are named by.
        common: the section `data` of the common view; `view`: the model's own, in a word.
        evaluate: as `--evaluate` says.
        pictures: whether to leave them (the first seed does).
        seconds: of training, where that is the budget.
    """

    name: str
    seed: int
    source: str
    texts: tuple[str, ...]
    out: str
    stem: str
    common: dict[str, Any]
    view: str
    evaluate: tuple[str, ...]
    trained: bool = False
    pictures: bool = True
    seconds: float | None = None

    @property
    def folder(self) -> Path:
        """Of the run; of one that was trained before, what it is evaluated to."""
        return Path(self.out) / "runs" / f"{self.stem}-seed{self.seed}"

    @property
    def file(self) -> Path:
        """Where what was found lies."""
        return Path(self.out) / "trials" / f"{self.stem}-seed{self.seed}.json"


@dataclass(kw_only=True)
class Outcome:
    """What a trial found. `asked` is the task that it answers; `refused` says why, by metric."""

    asked: dict[str, Any]
    run: RunOf
    kind: str = ""
    capabilities: list[str] = field(default_factory=list)
    parameters: int | None = None
    yaml: str = ""
    graph: str = ""
    budget: str = ""
    figures: list[Figure] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)


class Stopped(Exception):
    """Training was ended by a signal; a checkpoint stands."""


def known(task: Task) -> Outcome | None:
    """What an earlier call found for the same task; None where it is to be done, or done again after a failure."""
    try:
        outcome = TypeAdapter(Outcome).validate_json(task.file.read_bytes())
    except (OSError, ValueError):
        return None
    return outcome if outcome.run.status == "ok" and outcome.asked == _asked(task) else None


def _asked(task: Task) -> dict[str, Any]:
    asked = json.loads(json.dumps(asdict(task) | {"version": variata.__version__}))
    return {key: value for key, value in asked.items() if key != "out"}


def perform(task: Task, say: Callable[[str], None] = lambda what: None) -> Outcome:
    """Trains, measures and draws; a failure is in what is returned, and nothing else is lost by it.

    Args:
        say: told what is under way.

    Raises:
        Stopped: by Ctrl-C or SIGTERM.
    """
    outcome = failed(task)
    try:
        _perform(task, outcome, say)
    except Stopped:
        raise
    except UserError as error:
        outcome.run.failure = "; ".join(str(problem) for problem in error.problems)
    except Exception as error:  # somebody's code: the others' results are not to be lost by it
        outcome.run.failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
        task.file.parent.mkdir(parents=True, exist_ok=True)
        task.file.with_suffix(".traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
    keep(task, outcome)
    return outcome


def failed(task: Task, failure: str = "") -> Outcome:
    """Of a trial that did not end."""
    shown = f"runs/{task.folder.name}"
    return Outcome(asked=_asked(task), run=RunOf(folder=shown, seed=task.seed, status="failed", failure=failure))


def keep(task: Task, outcome: Outcome) -> None:
    """Writes what was found."""
    task.file.parent.mkdir(parents=True, exist_ok=True)
    temporary = task.file.with_name(f".{task.file.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(asdict(outcome), indent=1), encoding="utf-8")
    temporary.replace(task.file)


def _perform(task: Task, outcome: Outcome, say: Callable[[str], None]) -> None:
    say("training")
    run = _run(task)
    outcome.kind, outcome.yaml = type(run.model).__name__, run.spec.dump()
    outcome.capabilities = [kind.__name__ for kind in _CAPABILITIES if isinstance(run.model, kind)]
    outcome.parameters = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    outcome.run.curves = curves_of(run.metrics)
    outcome.run.seconds, outcome.run.steps = _length(run)
    if task.trained:
        options = run.spec.plain()["train"]
        length = f"{options['steps']} steps" if options["steps"] else f"{options['epochs']} epochs"
        outcome.budget = f"{length}, trained before"
    say("measuring")
    data = _held_against(task, run)
    found = measured(_kept_here(task, run), task.name, task.seed, data, settings_of(task.evaluate), task.view)
    outcome.figures, outcome.refused, outcome.run.sampling = found.figures, found.refused, found.sampling
    outcome.figures += list(_costs(task, outcome))
    if task.pictures:
        say("drawing")
        outcome.pictures = _draw(task, run, found)
        outcome.graph = _graph(task)
    outcome.run.status = "ok"


def _run(task: Task) -> Run:
    if task.trained:
        return load(task.source)
    if _status(task.folder) == "finished":
        return load(task.folder)
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    if (task.folder / "spec.yaml").is_file():  # begun by an earlier call, and held against this one by `check_begun`
        run = train(task.folder, resume=True)
    else:
        texts = (*task.texts, f"seed={task.seed}")
        if task.seconds is not None:
            texts = (*texts, f"train.steps={_steps_within(task, texts)}")
        run = train(task.source, texts, run=task.folder)
    if run.status in ("interrupted", "terminated"):
        raise Stopped(run.status)
    return run


def _steps_within(task: Task, texts: tuple[str, ...]) -> int:
    """How many steps the seconds of a budget have room for, by a short trial: schedules that are stretched over the
    whole of training need its length."""
    assert task.seconds is not None
    with tempfile.TemporaryDirectory() as folder:
        short = train(
            task.source, (*texts, f"train.max_time={task.seconds * _SHARE_OF_TRIAL}"), run=Path(folder) / "run"
        )
        if short.status in ("interrupted", "terminated"):
            raise Stopped(short.status)
        seconds, steps = _length(short)
    return max(1, round((steps or 1) / max(seconds or 0.0, 1e-3) * task.seconds))


def _status(folder: Path) -> str:
    try:
        return str(json.loads((folder / "run.json").read_text(encoding="utf-8")).get("status"))
    except (OSError, ValueError):
        return ""


def _length(run: Run) -> tuple[float | None, int | None]:
    try:
        found = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None, None
    return found.get("seconds"), found.get("step")


def _kept_here(task: Task, run: Run) -> Run:
    """The same run with its evaluation in the comparison's folder, where it is somebody else's."""
    if not task.trained:
        return run
    task.folder.mkdir(parents=True, exist_ok=True)
    return Run(task.folder, run.spec, run.model, run.status, run.data)


def _held_against(task: Task, run: Run) -> Data:
    """The common view of the examples, where the model's samples can be held against it; else the model's own."""
    if json.loads(json.dumps(run.spec.plain()["data"])) == task.common:
        return run.data
    common = build_data(task.common)
    return common if drawn_by_coins(run.model.spec, common.spec) else run.data


def _costs(task: Task, outcome: Outcome) -> list[Figure]:
    found = [("parameters", outcome.parameters, ""), ("training_seconds", outcome.run.seconds, "seconds")]
    found += [("sampling_seconds", outcome.run.sampling, "seconds")]
    return [
        Figure(model=task.name, seed=task.seed, metric=metric, value=float(value), unit=unit, group="all")
        for metric, value, unit in found
        if value is not None
    ]


def _draw(task: Task, run: Run, found: Measured) -> list[Picture]:
    samples: Tensor | None = found.samples
    return draw(
        run.model, task.name, Path(task.out), task.stem, samples, run.data, settings_of(task.evaluate).options.split
    )


def _graph(task: Task) -> str:
    """The conceptual graph as an SVG file, with a PNG beside it; none where the model cannot be built again from what
    is written."""
    path = Path(task.out) / "graphs" / f"{task.stem}.svg"
    try:
        config = str(Path(task.source) / "spec.yaml") if task.trained else task.source
        graph = graph_of(build(config, task.texts))
    except UserError:
        return ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_svg(graph), encoding="utf-8")
    path.with_suffix(".png").write_bytes(render_png(graph))
    return f"graphs/{path.name}"


def curves_of(rows: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Learning curves from the rows of metrics.jsonl, each of about 100 points: every k-th, and the last."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.items():
            number = isinstance(value, int | float) and math.isfinite(value)
            if name not in ("step", "epoch", "split", "lr", "skipped") and number:
                curves.setdefault(f"{row.get('split', 'train')}/{name}", []).append(
                    (int(row["step"]), float(f"{value:.6g}"))
                )
    return {name: _thinned(points) for name, points in curves.items()}


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    stride = -(-len(points) // _POINTS)
    kept = points[::stride]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def now() -> str:
    """The time, to the second, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
