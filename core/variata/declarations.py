"""What a plugin's hooks return: declarations made of strings, so that listing plugins never imports torch."""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from typing import Any

import pluggy

hookimpl = pluggy.HookimplMarker("variata")
"""Marks a function of a plugin as the implementation of the hook of that name."""


def load_target(target: str | type) -> Any:
    """The object that `package.module:Name` names; a class stands for itself."""
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Component:
    """A part that users name in YAML: its kind ("encoder"), its name in snake_case, where its class is, and a line.

    `target` is "package.module:Class", or the class itself where there is no package (a notebook, a test).
    """

    kind: str
    name: str
    target: str | type
    description: str = ""

    def load(self) -> Any:
        return load_target(self.target)


@dataclass(frozen=True)
class Kind:
    """A kind of component: an abstract class plus its name. `target` as in `Component`."""

    name: str
    target: str | type
    description: str = ""

    def load(self) -> Any:
        return load_target(self.target)


@dataclass(frozen=True)
class Command:
    """A command of the command line; `target` is "package.module:function", a function that typer understands."""

    name: str
    target: str
    description: str = ""

    def load(self) -> Any:
        return load_target(self.target)


@dataclass(frozen=True)
class Default:
    """The default of a constructor's option that is itself a component, as YAML would write it.

    `network: Factory[Network] = default("network", "mlp", hidden=[200])`
    """

    kind: str
    use: str
    options: tuple[tuple[str, Any], ...] = ()


def default(kind: str, use: str, **options: Any) -> Any:
    """A `Default`, typed as anything so that it can stand where the component's own type is annotated."""
    return Default(kind, use, tuple(options.items()))


def plain_default(value: Any) -> Any:
    """The default of an option as YAML would write it: a `Default`, a list that holds some, a dataclass, or plain
    data."""
    if isinstance(value, Default):
        return {"use": value.use, **{name: plain_default(option) for name, option in value.options}}
    if isinstance(value, list | tuple):
        return [plain_default(item) for item in value]
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
