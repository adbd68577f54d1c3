"""From an assembly to a run folder: prepare, train with checkpoints, finish, save; and how a run goes on from where it
was stopped."""

from __future__ import annotations

import copy
import json
import os
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from ..assembly import Assembly, finish, prepare
from ..checkpoint import own_state, whole_state
from ..config import Spec, difference, load_spec
from ..data import Data
from ..errors import ConfigError, NonFinite, Problem, RunError
from ..processes import World, alone, assign, choose_device, joined, local_device
from ..progress import Reporter
from ..provenance import check_plugins
from ..run_folder import METRICS, SPEC, Run, RunContext, new_folder, save_model, write_description
from .faults import save_fault
from .listening import Listening
from .loop import Loop, Row, seed_training
from .saving import FOLDER, Checkpoints
from .sharding import shard
from .signals import Request, interruptible

_MAY_CHANGE = ("epochs", "steps", "max_time", "patience", "checkpoint_every", "checkpoint_minutes", "keep", "loggers")
"""Options under `train` that may differ at a resume: those that make a run longer, and those that change no number."""
_LENGTHS = ("epochs", "steps", "max_time")


class Fit:
    """One training, from its beginning or from its last checkpoint.

    Args:
        assembly: as `build` gave it.
        folder: the run's, which exists.
        resume: whether to go on from the last checkpoint there.
    """

    def __init__(self, assembly: Assembly, folder: Path, where: World, quiet: bool, resume: bool) -> None:
        self.spec, self.model, self.loss = assembly.spec, assembly.model, assembly.loss
        assert assembly.data is not None
        self.data: Data = assembly.data
        self.training, self.where, self.quiet, self.folder = assembly.training, where, quiet, folder
        self.device = choose_device(local_device(self.training.device))
        self.checkpoints = Checkpoints(folder, self.training.keep)
        self.checkpoint = self.checkpoints.all()[-1] if resume and self.checkpoints.all() else None
        self.context = RunContext(folder, self.spec, self.model, self.loss, self.data)
        self.listening = Listening(self.training.loggers if where.first else (), where.first)

    def run(self, request: Request) -> str:
        """Trains; the status that the run ends with.

        Raises:
            NonFinite: the loss or a gradient became NaN or infinite; what is needed to look into it is in `fault/`.
        """
        loop = self._loop()
        length = self._restore(loop)
        if self.where.first:
            write_description(self.folder, self.spec)
        self.context.rows = _cut_back(self.folder / METRICS, length) if self.where.first else []
        self.context.step, self.context.epoch = loop.clock.step, int(loop.epoch)
        self.listening.notify("variata_run_started", self.context)
        status, failure = "failed", None
        quiet = self.quiet or not self.where.first
        with (
            (self.folder / (METRICS if self.where.first else os.devnull)).open("a") as file,
            Reporter(self.spec.name, loop.clock.total_steps, quiet) as reporter,
        ):
            if loop.clock.step:
                reporter.line(f"{self.spec.name}: goes on at step {loop.clock.step}")
            for line in self.data.spec.lines():
                reporter.line(line)
            try:
                ended = self._train(loop, file, reporter, request)
                status = "finished" if ended else "terminated" if request.signal == signal.SIGTERM else "interrupted"
                self._evaluation_weights(loop)
                if ended:
                    self._finish()
            except BaseException as error:
                failure = error
                status = "not finite" if isinstance(error, NonFinite) else "failed"
                if isinstance(error, NonFinite) and error.batch is not None:
                    with suppress(RunError):
                        save_fault(self.folder, self.model, self.loss, loop, error)
        self.context.status = status
        described = {"status": status, "step": loop.clock.step, "seconds": round(loop.seconds, 3)}
        if failure is None or not loop.is_cut:  # of weights that are cut, the others may be gone
            with suppress(RunError) if failure is not None else ExitStack():
                self._save_model(described)
        if failure is not None:
            self.listening.notify("variata_run_failed", self.context)
            raise failure
        self.model = self.context.model
        self.model.eval()
        self.listening.notify("variata_checkpoint_saved", self.context)
        self.listening.notify("variata_run_ended", self.context)
        return status

    def _loop(self) -> Loop:
        seed_training(self.spec["seed"])
        random.seed(self.spec["seed"])
        np.random.seed(self.spec["seed"] % (1 << 32))
        self.model.to(self.device)
        self.loss.to(self.device)
        if self.where.first and self.checkpoint is None:
            with alone():
                prepare(self.model, self.data)
                prepare(self.loss, self.data)
        self._share()
        if self.training.strategy == "sharded" and self.where.size > 1:
            self.context.model = copy.deepcopy(self.model)  # whole, for whoever looks at it
            for module in (self.model, self.loss):
                shard(module, self.device, self.where)
        train, validation = (self.data.split(name).to(self.device) for name in ("train", "validation"))
        return Loop(self.model, self.loss, self.training, train, validation, self.spec["seed"])

    def _share(self) -> None:
        """Gives the first process's state to all."""
        for module in (self.model, self.loss):
            self.where.broadcast(list(own_state(module).values()))

    def _restore(self, loop: Loop) -> int:
        """Puts the loop where the checkpoint was written; the length of metrics.jsonl then."""
        self.checkpoints.clean()
        if self.checkpoint is None:
            return 0
        return self.checkpoints.restore(loop, self.checkpoint).metrics_bytes

    def _train(self, loop: Loop, file: IO[str], reporter: Reporter, request: Request) -> bool:
        context, each_step = self.context, self.listening.hears("variata_step_ended")

        def log(row: Row) -> None:
            if not self.where.first:
                return
            context.rows.append(row)
            try:
                file.write(json.dumps(row) + "\n")
                file.flush()
            except OSError as error:
                raise RunError(f"{self.folder / METRICS}: cannot be written: {error.strerror}") from error
            reporter.metrics(row)
            self.listening.notify("variata_metrics_logged", context)

        def stepped() -> None:
            context.step, context.epoch = loop.clock.step, int(loop.epoch)
            reporter.advance(loop.clock.step)
            if each_step:
                self.listening.notify("variata_step_ended", context)

        def save() -> None:
            self._save(loop, file)
            self.listening.notify("variata_checkpoint_saved", context)

        ended = loop.run(log, stepped, request, save)
        if ended:
            self._save(loop, file)
        elif request.signal is not None:
            reporter.line(
                f"{self.spec.name}: stopped at step {loop.clock.step}; to go on: {how_to_resume(self.folder)}"
            )
        return ended

    def _save(self, loop: Loop, file: IO[str]) -> None:
        """A checkpoint, and beside it the weights that the model would be evaluated with now."""
        self.checkpoints.save(loop, file.tell() if self.where.first else 0)
        if loop.clock.step < loop.clock.total_steps:
            seconds = round(loop.seconds, 3)
            with loop.averages.in_place() if loop.averages else ExitStack():
                self._save_model({"status": "running", "step": loop.clock.step, "seconds": seconds})

    def _save_model(self, described: dict[str, Any]) -> None:
        """Writes the model's weights."""
        weights = self._put_together()
        if self.where.first:
            save_model(self.folder, weights, described)

    def _put_together(self) -> dict[str, Tensor]:
        """The model's weights, whole; where they are cut, whoever looks at the model gets them too."""
        weights = whole_state(self.model)
        if self.context.model is not self.model:
            for name, value in own_state(self.context.model).items():
                assign(value, weights[name])
        return weights

    def _evaluation_weights(self, loop: Loop) -> None:
        if self.training.keep_best and loop.best is not None:
            self.checkpoints.load_averaged(loop, self.checkpoints.of_step(loop.best[1]))
        elif loop.averages is not None:
            loop.averages.copy_to_model()

    def _finish(self) -> None:
        """Lets parts learn from the data with the trained weights, whole."""
        self._put_together()
        self.model = self.context.model
        if self.where.first:
            with alone():
                finish(self.model, self.data)
        self._share()


def train_assembly(
    assembly: Assembly, *, run: str | Path | None = None, quiet: bool = True, resume: bool = False
) -> Run:
    """Trains what `build` gave; otherwise as `train`. Started by torchrun, each process trains its part."""
    spec, training = assembly.spec, assembly.training
    assert assembly.data is not None
    device = choose_device(local_device(training.device))
    with joined(device) as where:
        if training.devices not in (1, where.size):
            message = f"is {training.devices}, and {where.size} processes were started: call variata.train, or torchrun"
            raise ConfigError(Problem(message, "train.devices"))
        folder = Path(where.shared(str(_folder(run, spec, resume) if where.first else "")))
        devices = [device] if device.type == "cuda" else []
        undisturbed, exact = _as_before(), deterministic(training.deterministic)
        with undisturbed, exact, torch.random.fork_rng(devices=devices), interruptible() as request:
            fit = Fit(assembly, folder, where, quiet, resume)
            status = fit.run(request)
    return Run(folder, spec, fit.model, status, assembly.data)


def how_to_resume(folder: Path) -> str:
    """The command that goes on with a run."""
    return f"variata train {folder} --resume"


def resumed_config(config: Any, run: str | Path | None) -> tuple[Any, str | Path | None]:
    """What `--resume` trains, and where: a run folder stands for its own specification.

    Raises:
        RunError: it says nowhere which run.
    """
    if isinstance(config, str | Path) and os.path.isdir(config):
        if not os.path.isfile(Path(config) / SPEC):
            raise RunError(f"{config}: is no run folder (it has no {SPEC})")
        check_plugins(Path(config))
        return Path(config) / SPEC, config if run is None else run
    if run is None:
        raise RunError("--resume needs the run: variata train RUN --resume, or --run DIR beside the configuration")
    return config, run


def check_unchanged(folder: Path, spec: Spec) -> None:
    """Refuses to go on with another specification than the run's own, unless it only lengthens it.

    Raises:
        RunError: with every difference.
    """
    if not (folder / SPEC).is_file():
        return
    before, now = load_spec(folder / SPEC, live=_live(spec)), spec
    old, new = before.root.options["train"].options, now.root.options["train"].options
    for name in _MAY_CHANGE:
        if name not in _LENGTHS or _is_longer(old[name], new[name], name == "max_time"):
            old[name] = new[name]
    if changed := difference(before, now):
        lines = [Problem(f"{folder}: goes on only as it was begun: {line}", "") for line in changed]
        raise RunError([*lines, Problem("train without --resume, in another --run, to change these")])


def _is_longer(old: float | None, new: float | None, without_is_endless: bool) -> bool:
    """Whether a length was raised; None is no limit, or says nothing where another option does."""
    if new is None or old is None:
        return new is None and without_is_endless
    return new > old


def _live(spec: Spec) -> dict[str, Any]:
    from ..sources import Live

    found = {key: spec[key].value for key in ("data", "model", "loss") if isinstance(spec[key], Live)}
    model = spec["model"]
    options = {} if isinstance(model, Live) else model.options
    return found | {name: value.value for name, value in options.items() if isinstance(value, Live)}


def _folder(run: str | Path | None, spec: Spec, resume: bool) -> Path:
    """The run's folder: a new one, or the one to go on in."""
    if not resume:
        return new_folder(run, spec.name)
    if run is None:
        raise RunError("to resume, say which run: run=")
    folder = Path(run)
    if not folder.is_dir() or not any(folder.iterdir()):
        return new_folder(folder, spec.name)
    if not (folder / SPEC).is_file() and not (folder / FOLDER).is_dir():
        raise RunError(f"{folder}: is not empty, and is no run; choose another --run")
    check_unchanged(folder, spec)
    return folder


def _cut_back(path: Path, length: int) -> list[Row]:
    """Forgets the rows after the checkpoint; gives those before it."""
    if not length or not path.exists():
        path.write_text("")
        return []
    with path.open("rb+") as file:
        file.truncate(length)
    return [json.loads(line) for line in path.read_text().splitlines()]


@contextmanager
def _as_before() -> Iterator[None]:
    """Python's and numpy's generators are left as they were; torch's are seen to where it is seeded."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Within it torch uses only algorithms whose results do not change from run to run."""
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
