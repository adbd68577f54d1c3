"""From YAML to a checked specification, and back.

The constructor's signature is the schema of a component; the *place* says of which kind it is. Only registered names
can be constructed. All problems are gathered and reported together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from .data import Data, Seed
from .declarations import Default, plain_default
from .errors import ConfigError, Place, PluginError, Problem, article, suggest
from .interfaces import Loss, Model
from .plugins import Entry, Registry, registry
from .signature import Option, Signature, place_of, signature_of
from .sources import Live, Source, merge, read
from .starting import Init
from .training.options import Training
from .yaml12 import Node, dump, from_plain, number_remedy

BUILT = "built"
"""The key of a saved specification under which what follows from it is written (shapes, what the data is)."""


@dataclass(kw_only=True)
class Root:
    """The top level of a specification."""

    data: Data
    model: Model
    loss: Loss
    train: Training
    init: Init | None = None
    seed: Seed = 0


@dataclass
class Part:
    """A component with its checked options, not yet constructed; `deferred` where its parent will construct it."""

    part_class: Any
    path: str
    place: Place | None
    use: str | None
    entry: Entry | None
    deferred: bool
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def signature(self) -> Signature:
        return signature_of(self.part_class)


@dataclass
class Spec:
    """A checked specification. `root.options` holds data, model, loss, train, init and seed; `presets` are those
    that it extends, each `distribution:plugin/name`."""

    root: Part
    name: str
    dropped: list[str]
    built: dict[str, Any] | None = None
    presets: Sequence[str] = ()

    def __getitem__(self, section: str) -> Any:
        return self.root.options[section]

    def plain(self) -> dict[str, Any]:
        """Everything resolved, defaults written out."""
        return _plain(self.root)

    def dump(self) -> str:
        """The same as YAML; reading it again gives an equal specification."""
        return dump(self.plain() | ({BUILT: self.built} if self.built else {}))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and self.dump() == other.dump()

    def parts(self) -> list[Part]:
        """Every part of the specification, outermost first."""
        found: list[Part] = []
        todo: list[Any] = [self.root]
        while todo:
            value = todo.pop(0)
            if isinstance(value, Part):
                found.append(value)
                todo = list(value.options.values()) + todo
            elif isinstance(value, list | tuple):
                todo = list(value) + todo
        return found


def load_spec(
    config: str | Path | Mapping[str, Any] | Spec,
    overrides: Any = (),
    live: Mapping[str, Any] | None = None,
    provided: Mapping[str, str] | None = None,
) -> Spec:
    """Reads and checks a specification, without building anything of it.

    Args:
        config, overrides, live: as for `sources.read`.
        provided: "kind/name" to the distribution that gave it when the specification was saved.

    Raises:
        ConfigError: every problem, each with its place and its remedy.
    """
    if isinstance(config, Spec):
        if not overrides and not live:
            return config
        source = read(config.plain(), overrides, _live_paths(live or {}))
        source.name, source.presets = config.name, list(config.presets)
    else:
        source = read(config, overrides, _live_paths(live or {}))
    return check(source, provided)


def check(source: Source, provided: Mapping[str, str] | None = None) -> Spec:
    """Checks a merged specification against the signatures of what it names.

    Raises:
        ConfigError: every problem together.
    """
    node = Node(dict(source.node.value), source.node.place)
    built = node.value.pop(BUILT, None)
    checker = _Checker(registry(), provided or {})
    root = Part(Root, "", node.place, None, None, False)
    root.options = checker.options(root, node)
    if built is not None and not isinstance(built.get("data"), Node):
        checker.problem("is what variata writes into a run: remove it", BUILT, built.place)
    _check_requires(root, node, checker.problems)
    if checker.problems:
        raise ConfigError(checker.problems)
    return Spec(root, source.name, source.dropped, built.plain if built else None, source.presets)


def _live_paths(live: Mapping[str, Any]) -> dict[str, Any]:
    top = ("data", "model", "loss")
    return {key if key in top or "." in key else f"model.{key}": value for key, value in live.items()}


def _check_requires(root: Part, node: Node, problems: list[Problem]) -> None:
    loss, model = root.options.get("loss"), root.options.get("model")
    if (
        isinstance(loss, Part)
        and isinstance(model, Part)
        and not issubclass(model.part_class, loss.part_class.requires)
    ):
        needed = loss.part_class.requires.__name__
        message = f"{loss.use} needs a model that is a {needed}, and {model.use} is not; choose another loss or model"
        problems.append(Problem(message, "loss", loss.place))


class _Checker:
    def __init__(self, plugins: Registry, provided: Mapping[str, str]) -> None:
        self.plugins, self.provided = plugins, provided
        self.kinds = plugins.kind_classes()
        self.problems: list[Problem] = []

    def problem(self, message: str, path: str, place: Place | None) -> None:
        self.problems.append(Problem(message, path, place))

    def options(self, part: Part, node: Node) -> dict[str, Any]:
        schema = part.signature
        values: dict[str, Any] = {}
        for key, below in node.value.items():
            if key not in schema.options and (key != "use" or part.use is None):
                if key in schema.given or key in schema.shared:
                    hint = ": it is filled in, remove it"
                else:
                    hint = suggest(key, schema.options)
                self.problem(f"unknown option{hint}", _join(part.path, key), below.key or below.place)
        for name, option in schema.options.items():
            below = node.value.get(name)
            if below is None:
                below = self._default(option, part, node)
            elif isinstance(option.default, Default) and isinstance(below.value, dict) and "live" not in below.value:
                below = merge(self._default(option, part, node) or below, below, "", [])
            if below is not None:
                values[option.parameter] = self.value(option.annotation, below, _join(part.path, name))
        self._check_sharing(values)
        return values

    def _check_sharing(self, values: dict[str, Any]) -> None:
        wants = {name: value.signature.shared for name, value in values.items() if isinstance(value, Part)}
        for name, shared in wants.items():
            for sibling in shared:
                if sibling not in values:
                    message = f"shares the {sibling} beside it, and there is none"
                    self.problem(message, values[name].path, values[name].place)
        try:
            TopologicalSorter(wants).prepare()
        except CycleError as error:
            first, *rest = reversed(error.args[1])
            message = f"shares {', which shares '.join(rest)} in turn"
            self.problem(message, values[first].path, values[first].place)

    def _default(self, option: Option, part: Part, node: Node) -> Node | None:
        path = _join(part.path, option.name)
        if not option.required:
            return from_plain(plain_default(option.default), part.place)
        place = place_of(option.annotation, self.kinds)
        if place.section is not None:
            return Node({}, part.place)
        kind = self.kinds.get(place.kind or object)
        known = f" ({kind}: {', '.join(sorted(e.component.name for e in self.plugins.entries(kind)))})" if kind else ""
        self.problem(f"a required option is missing{known}", path, node.place)
        return None

    def value(self, annotation: Any, node: Node, path: str) -> Any:
        if isinstance(node.value, Live):
            return node.value
        place = place_of(annotation, self.kinds)
        if node.value is None and place.optional:
            return None
        if place.section is not None:
            return self._section(place.section, node, path)
        if place.items is not None:
            if isinstance(node.value, list):
                return [self.value(place.items, item, f"{path}[{i}]") for i, item in enumerate(node.value)]
            if place.kind is None and place.leaf is None:
                inner = place_of(place.items, self.kinds).kind
                each = f", each {article(self.kinds[inner])}" if inner else ""
                self.problem(f"must be a list{each} (got {_shown(node)})", path, node.place)
                return None
        if place.kind is None:
            return self._leaf(annotation if place.items is None else place.leaf, node, path)
        names = {entry.component.name for entry in self.plugins.entries(self.kinds[place.kind])}
        is_name = isinstance(node.value, str) and node.value.rpartition("/")[2] in names
        if place.leaf is None or isinstance(node.value, dict) or is_name:
            return self._component(place.kind, place.deferred, node, path)
        kind = self.kinds[place.kind]
        alternative = f" or {article(kind)} ({', '.join(sorted(names))})"
        return self._leaf(place.leaf, node, path, alternative + (" or a list of these" if place.items else ""))

    def _section(self, section: type, node: Node, path: str) -> Part | None:
        if not isinstance(node.value, dict):
            self.problem(f"must be a mapping of options (got {_shown(node)})", path, node.place)
            return None
        part = Part(section, path, node.place, None, None, False)
        part.options = self.options(part, node)
        return part

    def _component(self, kind: type, deferred: bool, node: Node, path: str) -> Part | None:
        kind_name = self.kinds[kind]
        if isinstance(node.value, dict) and "live" in node.value:
            message = f"was a live object ({node.value['live'].plain}), which is not saved; pass it again"
            self.problem(message, path, node.place)
            return None
        use = node.get("use") if isinstance(node.value, dict) else node
        if use is None:
            names = sorted(entry.component.name for entry in self.plugins.entries(kind_name))
            self.problem(f"says no `use`: name {article(kind_name)} ({', '.join(names)})", path, node.place)
            return None
        if not isinstance(use.value, str):
            self.problem(
                f"must be the name of {article(kind_name)}, or a mapping with `use` (got {_shown(use)})",
                path,
                use.place,
            )
            return None
        try:
            prefer = self.provided.get(f"{kind_name}/{use.value}") or use.origin
            entry = self.plugins.find(kind_name, use.value, prefer)
            part_class = entry.load()
            if not (isinstance(part_class, type) and issubclass(part_class, kind)):
                raise PluginError(f"{use.value} of plugin {entry.plugin.id} is no subclass of {kind.__name__}")
            part = Part(part_class, path, node.place, use.value, entry, deferred)
            part.options = self.options(part, node if isinstance(node.value, dict) else Node({}, node.place))
        except PluginError as error:
            self.problems += error.located(path, use.place).problems
            return None
        return part

    def _leaf(self, annotation: Any, node: Node, path: str, alternative: str = "") -> Any:
        try:
            value = adapter_of(annotation).validate_json(json.dumps(node.plain), strict=True)
            return value.expanduser().absolute() if isinstance(value, Path) else value  # a run is used from anywhere
        except PluginError as error:
            raise error.located(path, node.place) from error
        except ValidationError as error:
            grouped: dict[tuple[str, int], tuple[str, Node, list[str]]] = {}
            for item in error.errors(include_url=False):
                at, where = _below(node, path, item["loc"])
                entry = grouped.setdefault((where, id(at)), (where, at, []))
                message = item["msg"].replace("Input should be", "must be").replace("valid array", "list")
                message = "a value is missing" if item["type"] == "missing" else message
                if message not in entry[2]:
                    entry[2].append(message)
            for where, at, messages in grouped.values():
                remedy = number_remedy(at.value) if isinstance(at.value, str) else ""
                text = " or ".join([messages[0], *(m.removeprefix("must be ") for m in messages[1:])])
                self.problem(f"{text}{alternative} (got {_shown(at)}){remedy}", where, at.place)
        except (TypeError, ValueError) as error:
            self.problem(f"cannot be read: {error}", path, node.place)
        return None


@cache
def adapter_of(annotation: Any) -> TypeAdapter[Any]:
    """What checks values of that type.

    Raises:
        PluginError: values of that type cannot be written in YAML.
    """
    try:
        return TypeAdapter(annotation)
    except PydanticUserError as error:
        raise PluginError(f"is annotated {annotation}, which is neither a component nor plain data") from error


def _below(node: Node, path: str, location: tuple[Any, ...]) -> tuple[Node, str]:
    for step in location:
        if isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
            node, path = node.value[step], f"{path}[{step}]"
        elif isinstance(node.value, dict) and step in node.value:
            node, path = node.value[step], _join(path, str(step))
    return node, path


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        names = {option.parameter: option.name for option in value.signature.options.values()}
        options = {names[key]: _plain(item) for key, item in value.options.items()}
        return {"use": value.use, **options} if value.use else options
    if isinstance(value, Live):
        return {"live": value.describe()}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _shown(node: Node) -> str:
    return json.dumps(node.plain, default=str) if not isinstance(node.value, str) else repr(node.value)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def difference(old: Spec, new: Spec) -> list[str]:
    """What differs between two specifications, a line for each value: `loss.beta: 1.0 -> 4.0`."""
    before, after = _flat(old.plain()), _flat(new.plain())
    lines = [f"{key}: {before[key]} -> {after[key]}" for key in before if key in after and before[key] != after[key]]
    lines += [f"{key}: {before[key]} -> (gone)" for key in before if key not in after]
    return lines + [f"{key}: (new) -> {after[key]}" for key in after if key not in before]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {path: value}
    return {key: item for name, below in value.items() for key, item in _flat(below, _join(path, name)).items()}


def load_part(kind: str, use: str, options: Mapping[str, Any]) -> Part:
    """One component with options as YAML would write them, checked and not yet constructed.

    Raises:
        ConfigError: there is no such component, or its options are at fault.
    """
    checker = _Checker(registry(), {})
    node = from_plain({"use": use, **options}, Place("python"))
    part = checker._component(registry().kinds()[kind].load(), False, node, "")
    if checker.problems or part is None:
        raise ConfigError(checker.problems)
    return part


def check_options(section: type, overrides: Any) -> dict[str, Any]:
    """Checks `KEY=VALUE` texts against a dataclass of options, and gives all of its values.

    Raises:
        ConfigError: an unknown option, or a value of the wrong type.
    """
    node = read({}, overrides).node
    checker = _Checker(registry(), {})
    values = checker.options(Part(section, "", node.place, None, None, False), node)
    if checker.problems:
        raise ConfigError(checker.problems)
    return values
