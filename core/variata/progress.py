"""Progress of long work: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 2.0
_SHOWN = ("loss", "elbo", "reconstruction", "kl")


_current: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


def stage(title: str, total: int) -> Callable[[int], None]:
    """A piece of work that takes a while, wherever it is done: shown by whoever reports progress now, else by nobody.

    Args:
        title: in a few words ("training lenet").
        total: its number of steps.

    Returns:
        What is called with the number of steps done since the last call.
    """
    reporter = _current.get()
    return (lambda done: None) if reporter is None else reporter.stage(title, total)


class Reporter:
    """Shows how far work has come, on standard error.

    Args:
        total: how many steps there are.
        quiet: show nothing.
    """

    def __init__(self, title: str, total: int, quiet: bool = False) -> None:
        self.title, self.total, self.quiet = title, total, quiet
        self._latest: dict[str, dict[str, Any]] = {}
        self._line = 0.0
        self._bar: Progress | None = None
        self._token: Token[Reporter | None] | None = None
        if not quiet and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            more = (TimeRemainingColumn(), TextColumn("{task.fields[metrics]}"))
            self._bar = Progress(*columns, *more, console=Console(stderr=True), refresh_per_second=4)
            self._task = self._bar.add_task(title, total=total, metrics="")

    def __enter__(self) -> Reporter:
        if self._bar:
            self._bar.start()
        self._token = _current.set(self)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._token:
            _current.reset(self._token)
        if self._bar:
            self._bar.stop()

    def advance(self, completed: int) -> None:
        """So many steps are done."""
        if self._bar:
            self._bar.update(self._task, completed=completed)

    def stage(self, title: str, total: int) -> Callable[[int], None]:
        """A piece of the work, with a size of its own; gives what is called with the number of its steps done since the
        last call."""
        done, self._line = 0, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if self._bar:
                self._bar.update(self._task, completed=done, total=total, description=f"{self.title}: {title}")
            elif self._is_time():
                self.line(f"{self.title}: {title} {done}/{total}")

        return advance

    def _is_time(self) -> bool:
        """Whether another plain line is due."""
        now = time.monotonic()
        due = now - self._line >= _SECONDS_BETWEEN_LINES
        self._line = now if due else self._line
        return due

    def metrics(self, row: dict[str, Any]) -> None:
        """A row of metrics: shown beside the bar, or as a line now and then and at the end."""
        self._latest[row.get("split", "")] = row
        if self._bar:
            self._bar.update(self._task, metrics=self._text())
        elif not self.quiet and self._is_time():
            self.line(f"{self.title}  step {row['step']}/{self.total}  epoch {row['epoch']:g}  {self._text()}")

    def line(self, text: str) -> None:
        """A line of its own."""
        if self.quiet:
            return
        if self._bar:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _text(self) -> str:
        parts = []
        for split, row in self._latest.items():
            names = [n for n in _SHOWN if n in row] or [n for n in row if n.startswith("loss")]
            parts.append(f"{split}: " + "  ".join(f"{name} {row[name]:.4g}" for name in names))
        return "  |  ".join(parts)
