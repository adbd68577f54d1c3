"""The public surface: every name that plugins and users may rest on, with what it is called with."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from variata import hookspecs

MODULES = ("variata", "variata.testing", "variata_kernels")
OURS = ("variata", "variata_kernels")


def surface() -> dict[str, str]:
    """Each name, "variata.Batch.take", to its parameters, "self, rows", or to nothing where it is not called."""
    found: dict[str, str] = {}
    for module in MODULES:
        for name in importlib.import_module(module).__all__:
            found |= dict(_described(f"{module}.{name}", getattr(importlib.import_module(module), name)))
    for name in vars(hookspecs):
        if name.startswith("variata_"):
            found[f"hook {name}"] = parameters(getattr(hookspecs, name))
    return dict(sorted(found.items()))


def _described(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(value, type):
        yield name, parameters(value) if inspect.isfunction(value) else ""
        return
    yield name, parameters(value)
    for member in sorted({key for base in value.__mro__ if _ours(base) for key in vars(base)}):
        own = inspect.getattr_static(value, member)
        if member.startswith("_") and member != "__call__":
            continue
        function = own.__func__ if isinstance(own, classmethod | staticmethod) else own
        if inspect.isfunction(function):
            yield f"{name}.{member}", parameters(function)
        else:
            yield f"{name}.{member}", ""


def _ours(base: type) -> bool:
    return base.__module__.partition(".")[0] in OURS


def parameters(function: Any) -> str:
    """Names of parameters, `=` where there is a default, `*` before those that are keywords alone."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    words: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind == parameter.KEYWORD_ONLY and not any(word.startswith("*") for word in words):
            words.append("*")
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        words.append(f"{stars}{parameter.name}{'' if parameter.default is parameter.empty else '='}")
    return ", ".join(words)


def lost(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """What somebody who rests on the old surface would miss in the new one."""
    found = [f"{name} is gone" for name in old if name not in new]
    for name, text in old.items():
        if name in new and text != new[name]:
            found += [f"{name}: {problem}" for problem in _broken(_words(text), _words(new[name]))]
    return found


def _words(text: str) -> list[str]:
    return text.split(", ") if text else []


def _broken(old: list[str], new: list[str]) -> Iterator[str]:
    known = {word.rstrip("=") for word in new}
    required = {word.rstrip("=") for word in old if not word.endswith("=")}
    for word in old:
        if word.rstrip("=") not in known and word != "*":
            yield f"no longer takes {word.rstrip('=')}"
        elif word.endswith("=") and word not in new:
            yield f"{word.rstrip('=')} has no default any more"
    for word in new:
        name = word.rstrip("=")
        if not word.startswith("*") and not word.endswith("=") and name not in required and f"{name}=" not in old:
            yield f"requires {name}"
    positional = [word.rstrip("=") for word in _before_star(old) if word.rstrip("=") in known]
    if positional != [word.rstrip("=") for word in _before_star(new)][: len(positional)]:
        yield "takes its positional parameters in another order, or by keyword alone"


def _before_star(words: list[str]) -> list[str]:
    first = next((i for i, word in enumerate(words) if word.startswith("*")), len(words))
    return words[:first]


def first_line(name: str) -> str:
    """What a name is, by the first line of its docstring."""
    module, _, short = name.rpartition(".")
    value = getattr(importlib.import_module(module), short)
    if isinstance(value, str | int | float | tuple | dict) or not (isinstance(value, type) or callable(value)):
        return "the version" if short == "__version__" else "for annotations"
    return (inspect.getdoc(value) or "").partition("\n")[0]
