"""What a user is told when something is wrong: one line for each problem, with its place and its remedy."""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where something was written: a file (or "command line") with line and column, both from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `str` gives the line that the user sees.

    >>> print(Problem("unknown option, did you mean hidden?", "model.encoder.hiden", Place("vae.yaml", 5, 12)))
    vae.yaml:5:12 model.encoder.hiden: unknown option, did you mean hidden?
    """

    message: str
    path: str = ""
    place: Place | None = None

    def __str__(self) -> str:
        where = " ".join(str(part) for part in (self.place, self.path) if part)
        message = " ".join(self.message.split())
        return f"{where}: {message}" if where else message


class UserError(Exception):
    """Something that the user can mend. The command line prints `problems`, a line each, and exits with status 2."""

    def __init__(self, problems: str | Problem | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def located(self, path: str, place: Place | None) -> UserError:
        """The same error, where it does not yet say its place, with this one."""
        return type(self)([replace(p, path=path, place=place) if not p.path else p for p in self.problems])


class ConfigError(UserError):
    """A specification that cannot be built."""


class DataError(UserError):
    """Data that cannot be read, or that is not what it claims to be."""


class PluginError(UserError):
    """A plugin or a component that is missing, ambiguous or broken."""


class RunError(UserError):
    """A run folder that cannot be written or loaded."""


class NonFinite(UserError):
    """Training met NaN or infinity; nothing was updated with it.

    Attributes:
        phase, batch: the phase that met it, and this process's examples.
    """

    def __init__(self, problems: str | Problem | Iterable[Problem], phase: str = "", batch: Any = None) -> None:
        super().__init__(problems)
        self.phase, self.batch = phase, batch


class NotPrepared(UserError):
    """A model is used before what it needs from the data was computed; `variata.prepare(model, data)` does it."""


class Unsupported(UserError):
    """Something that the parts at hand cannot do, with the reason."""


class VariataWarning(UserWarning):
    """What a user should know and may ignore."""


def suggest(word: str, known: Iterable[str]) -> str:
    """ ", did you mean ...?" for the nearest known word; else the known words; else nothing.

    >>> suggest("hiden", ["hidden", "activation"])
    ', did you mean hidden?'
    >>> suggest("zzz", ["b", "a"])
    ' (known: a, b)'
    """
    known = sorted(set(known))
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f", did you mean {near[0]}?"
    return f" (known: {', '.join(known)})" if known else ""


def article(noun: str) -> str:
    """The noun with its article.

    >>> article("encoder"), article("prior")
    ('an encoder', 'a prior')
    """
    return f"an {noun}" if noun[:1] in "aeio" else f"a {noun}"


def reason_of(error: BaseException) -> str:
    """An error of somebody's code in one line, with the last line of that code which led to it.

    >>> reason_of(ValueError("no"))
    'ValueError: no'
    """
    known = ("<", str(Path(__file__).parent), str(Path(os.__file__).parent))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(known)]
    lines = [f for f in frames if "site-packages" not in f.filename]
    where = f" ({Path(lines[-1].filename).name}:{lines[-1].lineno})" if lines else ""
    return f"{type(error).__name__}: {error}{where}"
