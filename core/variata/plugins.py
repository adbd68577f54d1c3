"""Discovery of plugins, their isolation from one another, and look-up of what they offer.

Loading is lazy (at the first look-up) and light (declarations are strings). A plugin that fails is one warning line; it
never takes the toolkit, or another plugin's parts, with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import sys
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any, Literal

import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from . import __version__, hookspecs
from .declarations import Command, Component, Kind, hookimpl
from .errors import PluginError, VariataWarning, article, reason_of, suggest

GROUP = "variata"
BUILT_IN = "variata"
LOCAL = "local"
HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("variata_"))
LISTENING_HOOKS = tuple(name for name in HOOKS if "context" in getattr(hookspecs, name).__annotations__)
RUN_HOOKS = tuple(name for name in HOOKS if "RunContext" in getattr(hookspecs, name).__annotations__.values())

CORE_KINDS = [
    Kind("model", "variata.interfaces:Model", "what is trained: it says by class what it can do"),
    Kind("encoder", "variata.interfaces:Encoder", "q(z | x)"),
    Kind("prior", "variata.interfaces:Prior", "p(z)"),
    Kind("decoder", "variata.interfaces:Decoder", "p(x | z)"),
    Kind("corruption", "variata.interfaces:Corruption", "noise that a model is to undo, or to be robust against"),
    Kind("loss", "variata.interfaces:Loss", "what is minimised, in phases"),
    Kind("network", "variata.interfaces:Network", "a deterministic map of arrays"),
    Kind("data", "variata.data:Data", "a data set: what an example is, and three splits"),
    Kind("optimizer", "variata.objective:Optimizer", "how parameters move"),
    Kind("logger", "variata.logger:Logger", "what else a run's metrics are written to"),
    Kind("metric", "variata.interfaces:Metric", "a figure beyond the likelihood's"),
    Kind("schedule", "variata.objective:Schedule", "a number that depends on how far training has come"),
]

Status = Literal["loaded", "failed", "incompatible", "off"]


@dataclass
class Plugin:
    """One plugin and what became of it. `traceback` is kept where it failed; `seconds` is how long its module took to
    import, with everything that was not yet imported."""

    name: str
    distribution: str
    version: str = ""
    status: Status = "loaded"
    reason: str = ""
    traceback: str = ""
    module: Any = None
    file: Path | None = None
    seconds: float = 0.0
    components: list[Component] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    presets: dict[str, Path] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.distribution}:{self.name}"

    def fail(self, reason: str, status: Status = "failed", trace: str = "") -> None:
        self.status, self.reason, self.traceback = status, reason, trace
        self.components, self.kinds, self.commands, self.presets = [], [], [], {}


@dataclass(frozen=True)
class Entry:
    """A component together with the plugin that offers it."""

    component: Component
    plugin: Plugin

    def load(self) -> Any:
        """The class.

        Raises:
            PluginError: it cannot be imported, with the reason in one line.
        """
        try:
            return self.component.load()
        except Exception as error:
            raise PluginError(
                f"{self.component.kind} {self.component.name!r} of plugin {self.plugin.id} cannot be imported: "
                f"{reason_of(error)}"
            ) from error


class Registry:
    """Every plugin, and look-up by kind and name. `registry()` gives the one of this process."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.environment: dict[str, str] = {}  # before any plugin was imported
        self._manager = pluggy.PluginManager("variata")
        self._manager.add_hookspecs(hookspecs)

    def load_installed(self) -> None:
        """Loads every plugin that an installed distribution names, built-ins first, then by (distribution, name)."""
        self.environment = dict(os.environ)
        _strict()  # so that what it cannot be is said before a plugin fails
        only, off = _names("VARIATA_PLUGINS"), _names("VARIATA_PLUGINS_OFF") or set()
        found = sorted(_entry_points(), key=lambda pair: (pair[0].name != BUILT_IN, pair[0].name, pair[1].name))
        known = {key for dist, point in found for key in _keys(dist.name, point.name)}
        for variable, names in (("VARIATA_PLUGINS", only or set()), ("VARIATA_PLUGINS_OFF", off)):
            for name in sorted(names - known):
                raise PluginError(f"{variable} names {name!r}, which is not installed{suggest(name, known)}")
        for dist, point in found:
            plugin = Plugin(point.name, dist.name, dist.version)
            self.plugins.append(plugin)
            keys = _keys(dist.name, point.name)
            if off & keys or (only is not None and dist.name != BUILT_IN and not only & keys):
                plugin.fail("switched off by the environment", "off")
            elif reason := _incompatible(dist):
                plugin.fail(reason, "incompatible")
            else:
                self._attempt(plugin, point.load)
            self._report(plugin)
        kinds = self.kinds()
        for component, plugin in ((e.component, e.plugin) for e in self.entries()):
            if component.kind not in kinds:
                hint = suggest(component.kind, kinds)
                message = f"plugin {plugin.id} offers {component.name} of the unknown kind {component.kind!r}{hint}"
                warnings.warn(message, VariataWarning, stacklevel=2)

    def register(self, module: Any, name: str, distribution: str = LOCAL, file: Path | None = None) -> Plugin:
        """Adds a plugin that is not installed: a module, or any object with hook implementations."""
        plugin = Plugin(name, distribution, file=file)
        self.plugins.append(plugin)
        self._attempt(plugin, lambda: module)
        if plugin.status == "failed":
            self.plugins.remove(plugin)
            raise PluginError(f"plugin {name}: {plugin.reason}")
        return plugin

    def unregister(self, plugin: Plugin) -> None:
        """Takes a plugin out again."""
        self._manager.unregister(name=plugin.id)
        self.plugins.remove(plugin)

    def _attempt(self, plugin: Plugin, load: Callable[[], Any]) -> None:
        try:
            started = time.perf_counter()
            plugin.module = load()
            plugin.seconds = time.perf_counter() - started
            _check_hooks(plugin.module)
            self._manager.register(plugin.module, name=plugin.id)
            plugin.kinds = list(self._declared(plugin, "variata_kinds", Kind))
            plugin.components = list(self._declared(plugin, "variata_components", Component))
            plugin.commands = list(self._declared(plugin, "variata_commands", Command))
            folder = self._call(plugin, "variata_presets")
            if folder is not None:
                plugin.presets = {file.stem: file for file in sorted(Path(folder).glob("*.yaml"))}
        except (Exception, SystemExit) as error:
            if self._manager.has_plugin(plugin.id):
                self._manager.unregister(name=plugin.id)
            plugin.fail(reason_of(error), trace=traceback.format_exc())

    def _declared(self, plugin: Plugin, hook: str, expected: type) -> Iterator[Any]:
        for item in self._call(plugin, hook) or ():
            if not isinstance(item, expected):
                raise TypeError(f"{hook} returned {item!r}, which is no {expected.__name__}")
            if not re.fullmatch(r"[a-z][a-z0-9_-]*", item.name):
                raise ValueError(f"{hook}: {item.name!r} is no name: write it in snake_case")
            yield item

    def _call(self, plugin: Plugin, hook: str, **arguments: Any) -> Any:
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin_name == plugin.id:
                return implementation.function(*(arguments[name] for name in implementation.argnames))
        return None

    def _report(self, plugin: Plugin) -> None:
        if plugin.status not in ("failed", "incompatible"):
            return
        message = f"plugin {plugin.id} was not loaded: {' '.join(plugin.reason.split())}"
        if _strict():
            raise PluginError(f"{message} (VARIATA_PLUGINS_STRICT=1)")
        warnings.warn(f"{message}; `variata plugins` shows all", VariataWarning, stacklevel=2)

    def loaded(self) -> list[Plugin]:
        return [plugin for plugin in self.plugins if plugin.status == "loaded"]

    def kinds(self) -> dict[str, Kind]:
        """Every kind by name."""
        offered = [kind for plugin in self.loaded() for kind in plugin.kinds]
        return {kind.name: kind for kind in [*offered, *CORE_KINDS]}

    def kind_classes(self) -> dict[type, str]:
        """The abstract class of every kind, and the kind's name."""
        classes: dict[type, str] = {}
        for kind in self.kinds().values():
            try:
                classes[kind.load()] = kind.name
            except Exception as error:
                message = f"the kind {kind.name} cannot be imported: {reason_of(error)}"
                warnings.warn(message, VariataWarning, stacklevel=2)
        return classes

    def entries(self, kind: str | None = None) -> list[Entry]:
        """Every component, or those of a kind."""
        return [
            Entry(component, plugin)
            for plugin in self.loaded()
            for component in plugin.components
            if kind is None or component.kind == kind
        ]

    def find(self, kind: str, name: str, prefer: str | None = None) -> Entry:
        """The component of that kind and name; `distribution/name` where two distributions offer one name. `prefer` is
        the distribution in whose file the name is written: its own parts come first there.

        Raises:
            PluginError: there is none (with a suggestion), it is of another kind, or more than one is offered.
        """
        entries = self.entries(kind)
        wanted, _, bare = name.rpartition("/")
        matches = [e for e in entries if e.component.name == bare and (not wanted or e.plugin.distribution == wanted)]
        matches = [e for e in matches if e.plugin.distribution == prefer] or matches
        if len(matches) == 1:
            return matches[0]
        if matches:
            choices = list(dict.fromkeys(f"{e.plugin.distribution}/{bare}" for e in matches))
            remedy = f"write {' or '.join(choices)}" if len(choices) > 1 else "rename one of them"
            offered = "more than one plugin" if len(choices) > 1 else " and ".join(e.plugin.id for e in matches)
            raise PluginError(f"{kind} {name!r} is offered by {offered}: {remedy}")
        if elsewhere := [f"{e.plugin.distribution}/{bare}" for e in entries if e.component.name == bare]:
            raise PluginError(f"there is no {kind} {name}; write {' or '.join(elsewhere)}")
        other = [e.component.kind for e in self.entries() if e.component.name == bare]
        if other:
            known = _of(e.component.name for e in entries)
            raise PluginError(f"{name} is {article(other[0])}, but {article(kind)} belongs here{known}")
        raise PluginError(f"unknown {kind} {name}{suggest(name, (e.component.name for e in entries))}")

    def presets(self) -> dict[str, list[tuple[Plugin, Path]]]:
        """Presets by bare name."""
        found: dict[str, list[tuple[Plugin, Path]]] = {}
        for plugin in self.loaded():
            for name, path in plugin.presets.items():
                found.setdefault(name, []).append((plugin, path))
        return found

    def find_preset(self, name: str, prefer: str | None = None) -> tuple[Plugin, Path] | None:
        """A preset by name or `distribution/name`; a built-in one wins over a bare name of others, then comes that of
        the distribution in whose file the name is written (`prefer`).

        Raises:
            PluginError: two distributions offer it.
        """
        wanted, _, bare = name.rpartition("/")
        matches = [m for m in self.presets().get(bare, []) if not wanted or m[0].distribution == wanted]
        for first in (BUILT_IN, prefer):
            matches = [m for m in matches if m[0].distribution == first] or matches
        if len(matches) > 1:
            choices = " or ".join(f"{plugin.distribution}/{bare}" for plugin, _ in matches)
            raise PluginError(f"preset {name!r} is offered by more than one plugin: write {choices}")
        return matches[0] if matches else None

    def named(self, name: str) -> list[Plugin]:
        """The plugins that a name means: an entry point, a distribution, or `distribution:entry`.

        Raises:
            PluginError: there is none.
        """
        found = [plugin for plugin in self.plugins if name in _keys(plugin.distribution, plugin.name)]
        if not found:
            known = {key for plugin in self.plugins for key in _keys(plugin.distribution, plugin.name)}
            raise PluginError(f"there is no plugin {name}{suggest(name, known)}")
        return found

    def decoders_of(self, support: str) -> list[str]:
        """Names of the installed decoders for data of that support: for messages."""
        names = []
        for entry in self.entries("decoder"):
            with contextlib.suppress(PluginError):
                if support in entry.load().models:
                    names.append(entry.component.name)
        return names

    def able(self, kind: str, ability: str) -> list[str]:
        """Names of the installed components of a kind whose class says that it has an ability: for messages."""
        names = []
        for entry in self.entries(kind):
            with contextlib.suppress(PluginError):
                if getattr(entry.load(), ability, False):
                    names.append(entry.component.name)
        return names

    def hooks_of(self, plugin: Plugin) -> list[str]:
        """The hooks by which a plugin listens, beside those by which it declares."""
        return [hook for hook in LISTENING_HOOKS if any(plugin is listener for listener, _ in self.listeners(hook))]

    def listeners(self, hook: str) -> list[tuple[Plugin, Callable[[Any], None]]]:
        """The implementations of one of the hooks of a run, in the order of loading."""
        implementations = {i.plugin_name: i for i in getattr(self._manager.hook, hook).get_hookimpls()}
        return [(p, implementations[p.id].function) for p in self.loaded() if p.id in implementations]

    def notify(self, hook: str, context: Any) -> list[Any]:
        """Calls every implementation, and gives what they return; one that raises is a warning, and the others are
        still called."""
        found = []
        for plugin, function in self.listeners(hook):
            try:
                found.append(function(context))
            except Exception as error:
                message = " ".join(f"plugin {plugin.id} failed in {hook}: {reason_of(error)}".split())
                warnings.warn(message, VariataWarning, stacklevel=2)
        return found


_registry: Registry | None = None


def registry() -> Registry:
    """The plugins of this process, loaded at the first call."""
    global _registry
    if _registry is None:
        loading = Registry()
        loading.load_installed()
        _registry = loading
    return _registry


class _Inline:
    def __init__(self, components: Iterable[Component | Kind]) -> None:
        items = list(components)
        self._components = [item for item in items if isinstance(item, Component)]
        self._kinds = [item for item in items if isinstance(item, Kind)]

    @hookimpl
    def variata_components(self) -> list[Component]:
        return self._components

    @hookimpl
    def variata_kinds(self) -> list[Kind]:
        return self._kinds


@contextlib.contextmanager
def plugin(components: Iterable[Component | Kind] | Any, name: str = "inline") -> Iterator[Plugin]:
    """Registers components (or any object with hook implementations) for the length of a `with` block.

    Raises:
        PluginError: a hook is misspelt, or raises.
    """
    module = _Inline(components) if isinstance(components, list | tuple) else components
    registered = registry().register(module, _free(name))
    try:
        yield registered
    finally:
        registry().unregister(registered)


def _free(name: str) -> str:
    """The name of a local plugin, with a number where another one has it."""
    taken = {p.name for p in registry().plugins if p.distribution == LOCAL}
    return next(free for i in range(len(taken) + 1) if (free := f"{name}{i or ''}") not in taken)


def load_file(path: str | Path) -> Plugin:
    """Loads one local file as a plugin: its hook implementations and its components come under the name `local`.

    Raises:
        PluginError: the file is not there, cannot be imported, or declares nothing.
    """
    file = Path(path).resolve()
    if not os.path.isfile(file):
        raise PluginError(f"{path}: there is no such plugin file")
    for known in registry().plugins:
        if known.file == file:
            return known
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    for known in registry().plugins:
        if known.file is not None and known.version == digest[:12]:
            return known
    name = f"variata_local_{file.stem}_{digest[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"{path}: {reason_of(error)}") from error
    if not any(_marked(value) for value in vars(module).values()):
        raise PluginError(f"{path}: declares nothing; give it `@variata.hookimpl def variata_components()`")
    loaded = registry().register(module, _free(file.stem), file=file)
    loaded.version = digest[:12]
    return loaded


def _marked(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and hasattr(value, "variata_impl")


def _check_hooks(module: Any) -> None:
    for name in dir(module):
        value = getattr(module, name, None)
        marked = hasattr(value, "variata_impl")
        if marked and name not in HOOKS:
            raise AttributeError(f"there is no hook {name}{suggest(name, HOOKS)}")
        if not marked and name in HOOKS and isinstance(value, types.FunctionType):
            raise AttributeError(f"{name} is not marked: decorate it with @variata.hookimpl")


def _entry_points() -> Iterator[tuple[Distribution, EntryPoint]]:
    seen: set[tuple[str, str]] = set()
    for dist in distributions():
        for point in dist.entry_points:
            if point.group == GROUP and (key := (dist.name, point.name)) not in seen:
                seen.add(key)
                yield dist, point


def _keys(distribution: str, name: str) -> set[str]:
    return {distribution, name, f"{distribution}:{name}"}


def _names(variable: str) -> set[str] | None:
    value = os.environ.get(variable)
    return None if value is None else {name.strip() for name in value.split(",") if name.strip()}


def _strict() -> bool:
    value = os.environ.get("VARIATA_PLUGINS_STRICT", "")
    if value not in ("", "0", "1"):
        raise PluginError(f"VARIATA_PLUGINS_STRICT={value!r}: write 1 or 0")
    return value == "1"


def _incompatible(dist: Distribution) -> str:
    for text in dist.requires or []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if (
            canonicalize_name(requirement.name) == BUILT_IN
            and applies
            and not requirement.specifier.contains(Version(__version__), prereleases=True)
        ):
            return f"{dist.name} {dist.version} needs {text}, this is variata {__version__}"
    return ""


def _of(names: Iterable[str]) -> str:
    known = sorted(names)
    return f" ({', '.join(known)})" if known else ""
