"""From a checked specification to objects: what is given comes from the parent, sizes are written down on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter
from typing import Any

import torch
from torch import nn

from .config import Part, Spec
from .data import Data, DataSpec, Stream
from .declarations import Default
from .errors import ConfigError, Problem, UserError, reason_of
from .interfaces import Finishes, Loss, Model, Prepares
from .live import live_data
from .plugins import registry
from .signature import signature_of
from .sources import Live, NotSaved
from .starting import freeze, start, within


@dataclass
class Assembly:
    """A model with its loss and its data, built from `spec` and not yet trained."""

    spec: Spec
    model: Any
    loss: Any
    data: Data | None
    training: Any


class PartFactory:
    """A `Factory` made from a specification: builds its part when the parent calls it with the sizes."""

    def __init__(self, part: Part, builder: Builder, siblings: Mapping[str, Any]) -> None:
        self._part, self._builder, self._siblings = part, builder, siblings
        self.built: Any = None

    def __call__(self, **given: Any) -> Any:
        self.built = self._builder.construct(self._part, given, self._siblings)
        return self.built


class Builder:
    """Constructs the parts of one specification and records the sizes that parents gave them."""

    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def construct(self, part: Part, given: Mapping[str, Any], siblings: Mapping[str, Any] | None = None) -> Any:
        """The object of a part. `given` may offer more than the constructor asks for.

        Raises:
            UserError: with the part's place, where a constructor refuses.
        """
        schema = part.signature
        missing = [name for name in schema.given if name not in given]
        if missing:
            raise ConfigError(Problem(f"{part.use} needs {', '.join(missing)}, not known here", part.path, part.place))
        positional = {name: given[name] for name in schema.given}
        self._record(part, positional)
        options: dict[str, Any] = {}
        shared = {name: v.signature.shared if isinstance(v, Part) else () for name, v in part.options.items()}
        for name in TopologicalSorter(shared).static_order():
            options[name] = self._value(part.options[name], options)
        for name in schema.shared:
            options[name] = self._shared(part, name, siblings or {})
        common = {name: options.pop(name) for name in schema.common}
        try:
            built = part.part_class(**positional, **options)
            return built.with_options(**common) if common else built
        except UserError as error:
            raise error.located(part.path, part.place) from error
        except Exception as error:
            message = f"{part.use} cannot be built: {reason_of(error)}"
            raise ConfigError(Problem(message, part.path, part.place)) from error

    def _value(self, value: Any, siblings: Mapping[str, Any]) -> Any:
        if isinstance(value, Live):
            return value.value
        if isinstance(value, list):
            return [self._value(item, siblings) for item in value]
        if not isinstance(value, Part):
            return value
        return PartFactory(value, self, siblings) if value.deferred else self.construct(value, {}, siblings)

    def _shared(self, part: Part, name: str, siblings: Mapping[str, Any]) -> Any:
        sibling = siblings.get(name)
        built = sibling.built if isinstance(sibling, PartFactory) else sibling
        if not isinstance(built, nn.Module):
            message = f"shares {name}, which its parent has not built before it"
            raise ConfigError(Problem(message, part.path, part.place))
        return built

    def _record(self, part: Part, given: Mapping[str, Any]) -> None:
        sizes = {name: list(v) if isinstance(v, tuple) else v for name, v in given.items()}
        sizes = {name: value for name, value in sizes.items() if value is None or isinstance(value, int | list)}
        if not sizes:
            return
        before = self.shapes.get(part.path)  # a parent may make several of a part
        self.shapes[part.path] = (
            sizes if before is None else [*(before if isinstance(before, list) else [before]), sizes]
        )


def make(part: Any, **given: Any) -> Any:
    """The object that `part` stands for: a module is itself; a factory is called with those of the `given` values that
    its constructor asks for; a `Default` is looked up among the installed components."""
    if isinstance(part, nn.Module):
        return part
    if isinstance(part, Default):
        part = partial(registry().find(part.kind, part.use).load(), **dict(part.options))
    target = part.func if isinstance(part, partial) else part
    if isinstance(target, type):
        given = {name: value for name, value in given.items() if name in signature_of(target).given}
    return part(**given)


def assemble(spec: Spec, data_spec: DataSpec | None = None, resumes: bool = False) -> Assembly:
    """Builds what a specification describes; weights follow from its seed, and torch's generator is left as it was.

    Args:
        data_spec: what the data is, where it is known from a saved run; then the data set itself is not built.
        resumes: a checkpoint will give the weights, so those that `init` names are not read.

    Raises:
        UserError: parts that do not fit: the data's support against the decoder, labels where a condition is asked for.
    """
    builder = Builder()
    data = None
    if data_spec is None:
        data = build_data(spec)
        if not isinstance(getattr(data, "spec", None), DataSpec):
            message = f"{type(data).__name__} does not say what an example is: set self.spec to a DataSpec"
            raise ConfigError(Problem(message, "data"))
        data_spec = data.spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec["seed"])
        model = _root_part(builder, spec, "model", {"data": data_spec})
        if spec["init"] is not None:
            freeze(model, spec["init"])
            if data is not None and not resumes:
                start(model, spec["init"])
        loss = _root_part(builder, spec, "loss", {"model": model, "data": data_spec})
    _check_fit(spec, model, loss)
    spec.built = {"data": _plain_spec(data_spec), "shapes": builder.shapes}
    return Assembly(spec, model, loss, data, builder._value(spec["train"], {}))


def build_data(spec: Spec) -> Data:
    """The data set that a specification names, or the live object in its place."""
    section = spec["data"]
    return live_data(section.value) if isinstance(section, Live) else Builder().construct(section, {})


def prepare(model: nn.Module, data: Any) -> None:
    """Lets every part of a model (or loss) that learns something from the data before training do so, but for those
    that have a run's weights.

    Args:
        data: an iterable of batches that may be iterated more than once, or a `Data`, whose training split is taken.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    started = getattr(model, "started", ())
    for module in dict.fromkeys(_preparing(model, "", started)):
        module.prepare(Stream(data.split("train"), 1000, device) if isinstance(data, Data) else data)


def _preparing(module: nn.Module, name: str, started: Sequence[str]) -> Iterator[Prepares]:
    """What is to be prepared of a module: itself and its parts, less those that one of them prepares itself, and those
    that have a run's weights."""
    if isinstance(module, Prepares) and not within(name, started):
        yield module
    for child, part in module.named_children():
        if not (isinstance(module, Prepares) and child in module.prepares_itself):
            yield from _preparing(part, f"{name}.{child}".lstrip("."), started)


def finish(model: nn.Module, data: Data) -> None:
    """Lets every part that learns something from the data after training do so, but for frozen ones."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    frozen = getattr(model, "frozen", ())
    for name, module in model.named_modules():
        if isinstance(module, Finishes) and not within(name, frozen):
            module.finish(model, Stream(data.split("train"), 1000, device))


def _root_part(builder: Builder, spec: Spec, section: str, given: Mapping[str, Any]) -> Any:
    value = spec[section]
    return value.value if isinstance(value, Live) else builder.construct(value, given)


def _check_fit(spec: Spec, model: Any, loss: Any) -> None:
    for value, kind in ((model, Model), (loss, Loss)):
        if isinstance(value, NotSaved):
            return
        if not isinstance(value, kind):
            remedy = "subclass OnePhaseLoss" if kind is Loss else "subclass LatentVariable, Density, ..."
            name = kind.__name__
            message = f"{type(value).__name__} is no {name}: {remedy}, or pass the parts of one"
            raise ConfigError(Problem(message, name.lower()))
    needed = loss.requires
    if not isinstance(model, needed):
        message = f"{type(loss).__name__} needs a model that is a {needed.__name__}, and {type(model).__name__} is not"
        raise ConfigError(Problem(message, "loss"))


def _plain_spec(value: Any) -> Any:
    """What a data set says about itself, as YAML holds it; nothing of what only tables or strings have, where there is
    none."""
    if isinstance(value, DataSpec):
        found = value.to_json()
        seldom = ("columns", "label", "missing", "vocabulary", "source")
        return _plain_spec({k: v for k, v in found.items() if v or k not in seldom})
    if isinstance(value, dict):
        return {key: _plain_spec(item) for key, item in value.items()}
    return [_plain_spec(item) for item in value] if isinstance(value, list | tuple) else value
