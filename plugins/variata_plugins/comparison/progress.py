"""How far a comparison is: which model and seed, how far each has come, and about how long all will take. A live bar
on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

_TRAINING = 0.8
_SECONDS_BETWEEN_LINES = 5.0
_listener: ContextVar[Callable[[float], None] | None] = ContextVar("listener", default=None)


@contextmanager
def listening(hear: Callable[[float], None]) -> Iterator[None]:
    """Within it, `hear` is told how far the training under way has come, from 0 to 1."""
    token = _listener.set(hear)
    try:
        yield
    finally:
        _listener.reset(token)


def heard(context: Any) -> None:
    """A row of metrics was logged."""
    hear = _listener.get()
    if hear is None or not context.rows:
        return
    options, row = context.spec["train"].options, context.rows[-1]
    if options["steps"] is not None:
        hear(min(1.0, row["step"] / options["steps"]))
    elif options["max_time"] is None:
        hear(min(1.0, row["epoch"] / options["epochs"]))


class Display:
    """Shows it on standard error.

    Args:
        total: how many trials there are.
        known: how many of them were done before.
    """

    def __init__(self, total: int, known: int = 0, quiet: bool = False) -> None:
        self.total, self.known, self.quiet = total, known, quiet
        self.done, self._share, self._what = known, {}, {}
        self._started = self._line = time.monotonic()
        self._bar: Progress | None = None
        self._rows: dict[str, TaskID] = {}
        if not quiet and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
            self._bar = Progress(*columns, TextColumn("{task.fields[left]}"), console=Console(stderr=True))
            self._all = self._bar.add_task("all", total=total, completed=known, left="")

    def __enter__(self) -> Display:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    def begins(self, name: str) -> None:
        """A trial begins."""
        self._share[name], self._what[name] = 0.0, ""
        if self._bar:
            self._rows[name] = self._bar.add_task(name, total=1.0, left="")

    def says(self, name: str, what: str) -> None:
        """What is under way in a trial."""
        self._what[name] = what
        self.reached(name, self._share.get(name, 0.0) if what == "training" else _TRAINING, now=True)

    def reached(self, name: str, share: float, now: bool = False) -> None:
        """How far its training has come."""
        self._share[name] = share if now else _TRAINING * share
        if self._bar:
            what = f"{name}: {self._what.get(name, '')}"
            self._bar.update(self._rows[name], completed=self._share[name], description=what)
            self._bar.update(self._all, completed=self.done + sum(self._share.values()), left=self._left())
        elif not self.quiet and time.monotonic() - self._line >= _SECONDS_BETWEEN_LINES:
            self._line = time.monotonic()
            done = self._share[name] / _TRAINING if self._what.get(name) == "training" else 1.0
            percent = f" {done:.0%}" if self._what.get(name) == "training" else ""
            self.line(f"{name}: {self._what.get(name, '')}{percent}; {self.done} of {self.total} done{self._left()}")

    def ends(self, name: str, failure: str) -> None:
        """A trial ended."""
        self._share.pop(name, None)
        self._what.pop(name, None)
        self.done += 1
        if self._bar:
            self._bar.remove_task(self._rows.pop(name))
            self._bar.update(self._all, completed=self.done + sum(self._share.values()), left=self._left())
        self.line(f"{self.done}/{self.total} {name}: {f'failed: {failure}' if failure else 'done'}{self._left()}")

    def line(self, text: str) -> None:
        """A line of its own."""
        if self.quiet:
            return
        if self._bar:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _left(self) -> str:
        """About how long the rest takes, at the pace so far."""
        share, elapsed = self.done - self.known + sum(self._share.values()), time.monotonic() - self._started
        rest = self.total - self.done - sum(self._share.values())
        if share < 0.05 or elapsed < 2 or rest <= 0:  # nobody can tell yet
            return ""
        seconds = elapsed * rest / share
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"
