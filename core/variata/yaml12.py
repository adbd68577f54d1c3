"""YAML 1.2 (core schema), read with the place of every value, and written back.

PyYAML speaks YAML 1.1, where `1e-3` is text, `no` is false, `010` is 8 and a duplicate key silently wins. Here the
implicit resolvers are those of YAML 1.2, and duplicates, aliases that contain themselves and tags are refused.
"""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError, Place, Problem

_MOST_NODES = 100_000
_DEEPEST = 100
_CORE_SCHEMA = [
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
]


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for name, pattern, first in _CORE_SCHEMA:
        for character in first:
            table.setdefault(character, []).append((f"tag:yaml.org,2002:{name}", re.compile(f"^(?:{pattern})$")))
    return table


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML was built with it
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_SafeLoader):
    yaml_implicit_resolvers = _resolvers()


class _Dumper(_SafeDumper):
    yaml_implicit_resolvers = _resolvers()

    def ignore_aliases(self, data: Any) -> bool:
        return True


@dataclass
class Node:
    """A value with its place: `value` is a dict of nodes, a list of nodes, or a plain scalar."""

    value: Any
    place: Place | None = None
    origin: str | None = None
    """The distribution whose preset this was written in."""
    key: Place | None = None
    """Where its key was written."""

    @property
    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain for node in self.value]
        return self.value

    def get(self, key: str) -> Node | None:
        return self.value.get(key) if isinstance(self.value, dict) else None


def parse(text: str, file: str, origin: str | None = None) -> Node:
    """Reads one document.

    Raises:
        ConfigError: bad syntax, duplicate keys, tags, an alias that contains itself; all of them together where the
            text can be read at all.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        context = f"{error.context}, " if error.context else ""
        raise ConfigError(Problem(f"YAML syntax: {context}{error.problem}", "", place)) from error
    except yaml.YAMLError as error:
        raise ConfigError(Problem(f"YAML syntax: {error}", "", Place(file))) from error
    except UnicodeEncodeError as error:
        raise ConfigError(Problem("is not text in UTF-8", "", Place(file))) from error
    except RecursionError as error:
        raise ConfigError(Problem("nested too deeply", "", Place(file))) from error
    if root is None:
        raise ConfigError(Problem("the file is empty; start with `extends: vae`", "", Place(file)))
    walk = _Walk(file, origin)
    node = walk.node(root, "")
    if walk.problems:
        raise ConfigError(walk.problems)
    return node


def parse_file(path: Path, shown: str, origin: str | None = None) -> Node:
    """Reads a file, which messages call `shown`.

    Raises:
        ConfigError: it cannot be read, is not text, or as for `parse`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(Problem("is not text in UTF-8", "", Place(shown))) from error
    except OSError as error:
        raise ConfigError(Problem(f"cannot be read: {error.strerror}", "", Place(shown))) from error
    return parse(text, shown, origin)


def from_plain(value: Any, place: Place | None = None) -> Node:
    """Nodes of a Python value (an override given in Python, a default)."""
    if isinstance(value, Mapping):
        return Node({str(key): from_plain(item, place) for key, item in value.items()}, place)
    if isinstance(value, list | tuple):
        return Node([from_plain(item, place) for item in value], place)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif isinstance(value, numbers.Integral) and not isinstance(value, int):  # numpy's
        value = int(value)
    return Node(value, place)


def dump(value: Any) -> str:
    """YAML 1.2 of a plain value, keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def number_remedy(text: str) -> str:
    """What is wrong with text that is nearly a number, or nothing.

    >>> number_remedy("0.00025d"), number_remedy("1_000"), number_remedy("fast")
    ("; write 0.00025, without 'd'", '; write 1000, without _', '')
    """
    resolve = re.compile(_CORE_SCHEMA[3][1])
    if resolve.fullmatch(bare := text.replace("_", "")) and bare != text:
        return f"; write {bare}, without _"
    if text and text[-1].isalpha() and resolve.fullmatch(text[:-1]):
        return f"; write {text[:-1]}, without {text[-1]!r}"
    return ""


class _Walk:
    """Turns PyYAML's nodes into ours, gathering what is wrong."""

    def __init__(self, file: str, origin: str | None) -> None:
        self.file, self.origin = file, origin
        self.problems: list[Problem] = []
        self.open: set[int] = set()
        self.count = 0

    def node(self, node: Any, path: str) -> Node:
        place = Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)
        self.count += 1
        if self.count > _MOST_NODES:
            raise ConfigError(Problem("aliases expand to too many values", path, place))
        if len(self.open) > _DEEPEST:
            raise ConfigError(Problem("nested too deeply", "", Place(self.file)))
        if id(node) in self.open:
            self.problems.append(Problem("an alias that contains itself", path, place))
            return Node(None, place, self.origin)
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.rpartition(":")[2] not in _TAGS:
            self.problems.append(Problem(f"tag {_shorthand(node.tag)} is not allowed; write plain values", path, place))
            return Node(None, place, self.origin)
        self.open.add(id(node))
        value = self._value(node, path, place)
        self.open.discard(id(node))
        return Node(value, place, self.origin)

    def _value(self, node: Any, path: str, place: Place) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [self.node(item, f"{path}[{i}]") for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        try:
            return _scalar(node.tag.rpartition(":")[2], node.value)
        except ValueError:
            self.problems.append(Problem(f"{node.value!r} is no {_shorthand(node.tag)}", path, place))
            return None

    def _mapping(self, node: Any, path: str) -> dict[str, Node]:
        items: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = Place(self.file, key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem("a key must be a plain word", path, place))
                continue
            key = key_node.value
            below = f"{path}.{key}" if path else key
            if key in items:
                self.problems.append(Problem("duplicate key; keep one", below, place))
            items[key] = self.node(value_node, below)
            items[key].key = place
        return items


_TAGS = {"null", "bool", "int", "float", "str", "seq", "map"}


def _shorthand(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _scalar(tag: str, text: str) -> Any:
    match tag:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
        case "float":
            lowered = text.lower()
            if lowered.endswith(".inf"):
                return -math.inf if lowered.startswith("-") else math.inf
            return math.nan if lowered == ".nan" else float(text)
        case _:
            return text
