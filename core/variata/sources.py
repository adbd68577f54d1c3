"""Where a specification comes from: a YAML file or a preset, what it extends, and what overrides it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ConfigError, Place, Problem, suggest
from .plugins import registry
from .yaml12 import Node, from_plain, parse, parse_file

COMMAND_LINE = Place("command line")


@dataclass
class Live:
    """A live object that stands in a specification in place of a component."""

    value: Any

    def describe(self) -> str:
        """How the saved specification names what cannot be rebuilt from it."""
        shape = f" {list(self.value.shape)}" if hasattr(self.value, "shape") else ""
        return f"{type(self.value).__module__}.{type(self.value).__qualname__}{shape}"


@dataclass
class NotSaved:
    """Stands for live data or a live loss of a saved run, which its model does without; `text` described it."""

    text: str


@dataclass
class Source:
    """A merged specification, not yet checked. `dropped` names options that a change of `use` left behind; `presets`
    are those that it extends, each `distribution:plugin/name`."""

    node: Node
    name: str
    base: Node | None = None
    dropped: list[str] = field(default_factory=list)
    presets: list[str] = field(default_factory=list)


def read(config: str | Path | Mapping[str, Any], overrides: Any = (), live: Mapping[str, Any] | None = None) -> Source:
    """Reads a configuration with everything that it extends and everything that overrides it.

    Args:
        config: a YAML file, a preset's name, or a mapping.
        overrides: `KEY=VALUE` texts, or a mapping of dotted keys to values.
        live: dotted keys to live objects, or to names of components.

    Raises:
        ConfigError: there is no such file or preset, or it cannot be read.
    """
    presets: list[str] = []
    if isinstance(config, Mapping):
        name, node = "python", from_plain(config, Place("python"))
        folder, trail = Path.cwd(), ()
    else:
        name = str(config)
        node, path = _open(name, Path.cwd(), None, None, presets)
        folder, trail = path.parent, (path,)
    dropped: list[str] = []
    node = _extended(_mapping(node, name), folder, trail, dropped, presets)
    base = node
    overlay = _overlay(overrides, live or {})
    if overlay.value:
        node = merge(node, overlay, "", dropped)
    return Source(node, Path(name).stem if name.endswith((".yaml", ".yml")) else name, base, dropped, presets)


def merge(base: Node, over: Node, path: str, dropped: list[str]) -> Node:
    """`over` on `base`: mappings merge, everything else replaces. Where `use` changes, the old options are dropped."""
    named = base.get("use")
    if isinstance(over.value, str) and named is not None:
        if over.value != named.value:  # another component, or a value in the place of one
            dropped += [f"{path}.{key}".lstrip(".") for key in base.value if key != "use"]
            return over
        over = Node({"use": over}, over.place, over.origin, over.key)
    if isinstance(over.value, dict) and isinstance(base.value, str):
        base = Node({"use": base}, base.place, base.origin, base.key)
    if not (isinstance(over.value, dict) and isinstance(base.value, dict)):
        return over
    old, new = base.get("use"), over.get("use")
    if old is not None and new is not None and old.value != new.value:
        dropped += [f"{path}.{key}".lstrip(".") for key in base.value if key not in over.value]
        return over
    items = dict(base.value)
    for key, node in over.value.items():
        items[key] = merge(items[key], node, f"{path}.{key}".lstrip("."), dropped) if key in items else node
    return Node(items, over.place if over.place != COMMAND_LINE else base.place, base.origin, base.key)


def _open(name: str, folder: Path, place: Place | None, prefer: str | None, presets: list[str]) -> tuple[Node, Path]:
    """What stands in a file or a preset, which is added to `presets`, and its path."""
    preset = registry().find_preset(name, prefer)
    path, origin = (preset[1], preset[0].distribution) if preset else (folder / name, None)
    presets += [f"{preset[0].id}/{path.stem}"] if preset else []
    if preset is None and not os.path.exists(path):
        if name.endswith((".yaml", ".yml")):
            raise ConfigError(Problem(f"there is no file {name!r}", "", place))
        raise ConfigError(
            Problem(f"there is no preset or file {name!r}{suggest(name, registry().presets())}", "", place)
        )
    if path.is_dir():
        remedy = f"; did you mean {name}/spec.yaml?" if (path / "spec.yaml").exists() else ""
        raise ConfigError(Problem(f"is a folder, not a YAML file{remedy}", "", place or Place(name or ".")))
    return parse_file(path, f"preset {name}" if preset else name, origin), path.resolve()


def _mapping(node: Node, name: str) -> Node:
    if not isinstance(node.value, dict):
        raise ConfigError(Problem("must be a mapping (`model: ...`, `data: ...`)", "", node.place or Place(name)))
    return node


def _extended(node: Node, folder: Path, trail: tuple[Path, ...], dropped: list[str], presets: list[str]) -> Node:
    base = node.value.pop("extends", None)
    if base is None:
        return node
    if not isinstance(base.value, str):
        raise ConfigError(Problem("must be the name of one preset or file", "extends", base.place))
    below, path = _open(base.value, folder, base.place, base.origin, presets)
    if path in trail:
        raise ConfigError(Problem(f"{base.value} extends itself", "extends", base.place))
    parent = _extended(_mapping(below, base.value), path.parent, (*trail, path), dropped, presets)
    return merge(parent, node, "", dropped)


def _overlay(overrides: Any, live: Mapping[str, Any]) -> Node:
    root = Node({}, COMMAND_LINE)
    problems: list[Problem] = []
    items: list[tuple[str, Node]] = []
    if isinstance(overrides, Mapping):
        items += [(str(key), from_plain(value, Place("override"))) for key, value in overrides.items()]
    else:
        for text in [overrides] if isinstance(overrides, str) else overrides or ():
            key, equals, value = text.partition("=")
            if not equals or not key.strip():
                problems.append(
                    Problem(f"{text!r} is no override; write KEY=VALUE, as in loss.beta=4", "", COMMAND_LINE)
                )
                continue
            try:
                items.append((key.strip(), _relocated(parse(value, "command line") if value.strip() else Node(None))))
            except ConfigError as error:
                problems += [Problem(p.message, key.strip(), COMMAND_LINE) for p in error.problems]
    for key, value in live.items():
        if isinstance(value, type):
            problems.append(Problem(f"{value.__name__} is a class: pass an object of it", key, Place("python")))
        is_name = isinstance(value, str)
        items.append((key, from_plain(value, Place("python")) if is_name else Node(Live(value), Place("python"))))
    if problems:
        raise ConfigError(problems)
    for key, node in items:
        _insert(root, key.split("."), node)
    return root


def _relocated(node: Node) -> Node:
    node.place = node.key = COMMAND_LINE
    children = (
        node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else ()
    )
    for child in children:
        _relocated(child)
    return node


def _insert(root: Node, keys: list[str], node: Node) -> None:
    for key in keys[:-1]:
        below = root.value.get(key)
        if below is None or not isinstance(below.value, dict):
            use = {"use": below} if below is not None and isinstance(below.value, str) else {}
            below = root.value[key] = Node(use, node.place, key=node.place)
        root = below
    existing = root.value.get(keys[-1])
    if existing is not None and isinstance(existing.value, dict) and isinstance(node.value, str):
        existing.value["use"] = node
        return
    node.key = node.place
    root.value[keys[-1]] = node if existing is None else merge(existing, node, "", [])
