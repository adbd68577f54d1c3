"""The signature of a constructor is the schema of its component: what is given, what users may write, and of which
type."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from torch import nn

from .errors import PluginError
from .interfaces import Factory, Shared

MISSING = inspect.Parameter.empty


@dataclass(frozen=True)
class Option:
    """One option: its name as users write it, the parameter it stands for, its annotation and its default."""

    name: str
    parameter: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is MISSING


@dataclass(frozen=True)
class Signature:
    """`given`: parameters that the parent fills in. `options`: what users write. `shared`: siblings that are passed
    on. `common`: those of the options that every component of its kind has."""

    given: tuple[str, ...]
    options: dict[str, Option]
    shared: dict[str, Any]
    common: tuple[str, ...] = ()


@cache
def signature_of(part_class: Any) -> Signature:
    """Positional parameters are given; keyword-only ones are options, or siblings where annotated `Shared`. A parameter
    `from_` is the option `from`. Of a dataclass, every field is an option. The abstract class of a kind may have a
    method `with_options`, whose keyword-only parameters are options of every component of that kind.

    Raises:
        PluginError: the constructor takes `*args` or `**kwargs`, or has an option without a type.
    """
    constructor, title = part_class.__init__, part_class.__qualname__
    given: list[str] = []
    options: dict[str, Option] = {}
    shared: dict[str, Any] = {}
    of_fields = dataclasses.is_dataclass(part_class)  # then each field's annotation is read where its class is written
    if constructor in (object.__init__, nn.Module.__init__):
        common = _common(part_class)
        return Signature((), common, {}, tuple(common))
    try:
        hints = typing.get_type_hints(part_class if of_fields else constructor, include_extras=True)
    except Exception as error:  # annotations are expressions, and may raise anything
        raise PluginError(f"{title}: the annotations of its constructor cannot be read ({error})") from error
    parameters = list(inspect.signature(constructor).parameters.values())[1:]
    for parameter in parameters:
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PluginError(f"{title}: the constructor takes *{name}; name every option instead")
        if parameter.kind != parameter.KEYWORD_ONLY and not of_fields:
            given.append(name)
            continue
        if name not in hints:
            raise PluginError(f"{title}: option {name} has no type annotation")
        if get_origin(hints[name]) is Shared:
            shared[name] = get_args(hints[name])[0]
        else:
            options[name.rstrip("_")] = Option(name.rstrip("_"), name, hints[name], parameter.default)
    common = {name: option for name, option in _common(part_class).items() if name not in options}
    return Signature(tuple(given), options | common, shared, tuple(common))


def _common(part_class: Any) -> dict[str, Option]:
    method = getattr(part_class, "with_options", None)
    if method is None:
        return {}
    hints = typing.get_type_hints(method, include_extras=True)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return {p.name: Option(p.name, p.name, hints[p.name], p.default) for p in parameters}


@dataclass(frozen=True)
class Place:
    """What may stand at an annotated place: a component of `kind` (unbuilt where `deferred`), a list whose items are
    annotated `items` and may hold components, a nested `section`, or a leaf that `leaf` describes."""

    kind: type | None = None
    deferred: bool = False
    items: Any = None
    section: type | None = None
    leaf: Any = None
    optional: bool = False


def place_of(annotation: Any, kinds: dict[type, str]) -> Place:
    """Reads an annotation; `kinds` maps the abstract class of every installed kind to its name."""
    if get_origin(annotation) is Annotated and get_args(annotation)[0] in kinds:
        annotation = get_args(annotation)[0]
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    optional = type(None) in members
    kind, deferred, items, leaves = None, False, None, []
    for member in members:
        late = get_origin(member) is Factory
        inner = get_args(member)[0] if late else member
        if isinstance(inner, type) and inner in kinds:
            kind, deferred = inner, late
        elif (item := _item_of(member)) is not None and _holds_components(place_of(item, kinds)):
            items = item
        elif member is not type(None):
            leaves.append(member)
    alone = kind is None and items is None and len(leaves) == 1
    if alone and isinstance(leaves[0], type) and dataclasses.is_dataclass(leaves[0]):
        return Place(section=leaves[0], optional=optional)
    leaf = Union[tuple(leaves)] if leaves else None  # noqa: UP007 -- a union of a tuple has no other spelling
    return Place(kind, deferred, items, None, leaf, optional)


def _item_of(annotation: Any) -> Any:
    """What the items of a list are annotated; None for anything else."""
    arguments = get_args(annotation)
    return arguments[0] if get_origin(annotation) in (list, tuple, Sequence) and arguments else None


def _holds_components(place: Place) -> bool:
    return place.kind is not None or place.items is not None
