"""Sentences of the documentation that Python's standard library carries in its code: real text on every machine, and
nothing is downloaded. It is that of the Python that runs, so figures on it belong to a version of Python."""

from __future__ import annotations

import ast
import functools
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from variata import ConfigError, Data, Problem, Seed, Split, suggest

from .lines import Line, unlike
from .strings import Limits, Reading, Share, Texts, TooLong, in_splits
from .vocabulary import Tokens

_OTHER = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo", "ensurepip"}
_SENTENCE = re.compile(r"[A-Z][A-Za-z ,.'()-]*\.")
_APART = re.compile(r"([,.'()-])")
_SHORTEST = 3


class Docstrings(Data):
    """Sentences of three words and more in lower case, each once, with a blank around every mark.

    Args:
        modules: top-level modules and packages of the library to read (argparse, email, ...); null for all of them.
        tokens: what a token is: characters, or words, which are what blanks separate.
        vocabulary_size: how many of the most frequent tokens of the training sentences are known; null for all.
        least: how often a token must occur in them to be known.
        longest: tokens of a sentence.
        too_long: what is done with a longer one: it is an error, or is cut, or left out.
        bucketing: batches of training hold sentences of about one length.
        validation, test: sentences that are held out, a number or a share.
        split_seed: of the permutation that chooses them.

    Raises:
        ConfigError: this Python has no such module in its library, or no sentence in those that are named.
    """

    def __init__(
        self,
        *,
        modules: Sequence[str] | None = None,
        tokens: Tokens = "words",
        vocabulary_size: PositiveInt | None = None,
        least: PositiveInt = 2,
        longest: PositiveInt | None = 20,
        too_long: TooLong = "leave_out",
        bucketing: bool = True,
        validation: Share = 0.1,
        test: Share = 0.1,
        split_seed: Seed = 0,
    ) -> None:
        lines = in_splits(sentences(None if modules is None else frozenset(modules)), validation, test, split_seed)
        reading = Reading(tokens, None, vocabulary_size, least, False)
        self._texts = Texts(lines, None, reading, Limits(longest, too_long), bucketing)
        self.spec = self._texts.spec

    def split(self, name: str) -> Split:
        return self._texts.splits[name]


@functools.cache
def sentences(modules: frozenset[str] | None = None) -> list[Line]:
    """Each sentence once, in the order of modules and of their code; arguments and errors as for `Docstrings`."""
    root, seen = Path(sysconfig.get_paths()["stdlib"]), set[str]()
    found: list[Line] = []
    tops = {path.stem: path for path in sorted(root.iterdir()) if path.stem in sys.stdlib_module_names - _OTHER}
    for name in sorted(modules or ()):
        if name not in tops:
            raise ConfigError(
                Problem(f"this Python has no module {name!r} in its library{suggest(name, tops)}", "modules")
            )
    for name, top in tops.items():
        if modules is not None and name not in modules:
            continue
        for file in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
            if not _OTHER.intersection(file.relative_to(root).parts):
                found += unlike([Line(str(file), number, text) for number, text in _of_file(file)], seen)
    if not found:
        raise ConfigError(Problem("these modules hold no sentence: name others, or null for all", "modules"))
    return found


def _of_file(file: Path) -> Iterator[tuple[int, str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the code that is read
            tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in _documented(tree):
        for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
            for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
                text = " ".join(_APART.sub(r" \1 ", sentence).lower().split())
                if _SENTENCE.fullmatch(sentence) and len(text.split()) >= _SHORTEST:
                    yield getattr(node, "lineno", 1), text


def _documented(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Any]:
    """The module, and the classes and functions that are not within a function."""
    yield node
    for below in node.body if isinstance(node, ast.Module | ast.ClassDef) else ():
        if isinstance(below, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(below)
