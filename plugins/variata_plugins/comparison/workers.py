"""Trials one after the other, or in several processes: a process that dies takes its own trial with it and no other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from variata import load_file

from .progress import Display, listening
from .trial import Outcome, Stopped, Task, failed, keep, perform

_PATIENCE = 60.0


def title(task: Task) -> str:
    """What a trial is called."""
    return f"{task.name}, seed {task.seed}"


def perform_all(
    tasks: Sequence[Task],
    jobs: int,
    plugins: Sequence[str],
    display: Display,
    done: Callable[[Task, Outcome], None],
) -> None:
    """Performs them all.

    Args:
        plugins: local files that other processes load as well.
        jobs: how many processes; 1 takes this one. The threads of torch are divided between them.
        done: told of each that ended, whether well or not.

    Raises:
        Stopped: by SIGTERM, or Ctrl-C while a model trained here.
    """
    if jobs > 1 and len(tasks) > 1:
        _in_processes(list(tasks), min(jobs, len(tasks)), plugins, display, done)
        return
    for task in tasks:
        name = title(task)
        display.begins(name)
        with listening(lambda share, name=name: display.reached(name, share)):
            outcome = perform(task, lambda what, name=name: display.says(name, what))
        display.ends(name, outcome.run.failure)
        done(task, outcome)


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    task: Task | None = None


def _in_processes(
    tasks: list[Task],
    jobs: int,
    plugins: Sequence[str],
    display: Display,
    done: Callable[[Task, Outcome], None],
) -> None:
    threads = max(1, torch.get_num_threads() // jobs)
    workers = [_started(threads, plugins) for _ in range(jobs)]
    try:
        for worker in workers:
            _give(worker, tasks, display)
        while any(worker.task for worker in workers):
            for pipe in wait([worker.pipe for worker in workers if worker.task]):
                worker = next(worker for worker in workers if worker.pipe is pipe)
                for task, outcome in _heard(worker, display):
                    display.ends(title(task), outcome.run.failure)
                    done(task, outcome)
                    if not worker.process.is_alive() and tasks:
                        workers[workers.index(worker)] = worker = _started(threads, plugins)
                    _give(worker, tasks, display)
    except KeyboardInterrupt:  # the workers were told too, and leave checkpoints
        _end(workers, _PATIENCE)
        raise
    finally:
        _end(workers, 0.0)


def _started(threads: int, plugins: Sequence[str]) -> _Worker:
    context = get_context("spawn")
    here, there = context.Pipe()
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when a library of threads starts
    try:
        process = context.Process(target=_serve, args=(there, threads, tuple(plugins)), daemon=False)
        process.start()
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
    there.close()
    return _Worker(process, here)


def _give(worker: _Worker, tasks: list[Task], display: Display) -> None:
    """The next task, where there is one."""
    worker.task = tasks.pop(0) if tasks else None
    if worker.task is not None:
        display.begins(title(worker.task))
    with suppress(OSError):
        worker.pipe.send(worker.task)


def _heard(worker: _Worker, display: Display) -> Iterator[tuple[Task, Outcome]]:
    """Takes a worker's message; what it ended with, where it did."""
    task = worker.task
    assert task is not None
    try:
        what, value = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        outcome = failed(task, _how_it_died(worker.process.exitcode))
        keep(task, outcome)
        worker.task = None
        yield task, outcome
        return
    if what == "done":
        worker.task = None
        yield task, value
    elif what == "stopped":
        raise Stopped(value)
    elif what == "says":
        display.says(title(task), value)
    else:
        display.reached(title(task), value)


def _how_it_died(status: int | None) -> str:
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        more = "; the machine may be out of memory" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{more}"
    return f"its process ended with exit status {status}"


def _end(workers: Sequence[_Worker], patience: float) -> None:
    """Lets the workers go, and ends those that do not."""
    until = time.monotonic() + patience
    for worker in workers:
        if worker.task is None:
            with suppress(OSError):
                worker.pipe.send(None)
    for worker in workers:
        if worker.task is not None and not patience:
            worker.process.terminate()
        worker.process.join(max(0.0, until - time.monotonic()) if patience else 10.0)
        if worker.process.is_alive():
            worker.process.kill()
        worker.pipe.close()


def _serve(pipe: Connection, threads: int, plugins: Sequence[str]) -> None:
    """What a worker does."""
    torch.set_num_threads(threads)
    for file in plugins:
        load_file(file)

    def tell(what: str, value: Any) -> None:
        try:
            pipe.send((what, value))
        except OSError:  # nobody waits for this any more
            os._exit(1)

    try:
        while (task := pipe.recv()) is not None:
            with listening(lambda share: tell("reached", share)):
                outcome = perform(task, lambda what: tell("says", what))
            tell("done", outcome)
    except Stopped as stopped:
        tell("stopped", str(stopped))
    except (EOFError, KeyboardInterrupt):
        return
