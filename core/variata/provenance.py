"""Which plugins made a run (`plugins.json`), and what of them is here when it is loaded.

components    "kind/name" of every part to the plugin that it is from: without one of these there is no model
others        plugins that took part in another way: by a preset that the specification extends, or by listening to the
              run; the weights do not need them
files         local plugin files, with copies of them, which are never run from the folder by themselves
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import shutil
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter

from . import __version__
from .checkpoint import write_json
from .config import Spec
from .errors import RunError, VariataWarning
from .plugins import LOCAL, RUN_HOOKS, Plugin, registry

PLUGINS = "plugins.json"

T = TypeVar("T")


@dataclass
class _Origin:
    distribution: str
    version: str
    plugin: str = ""


@dataclass
class _Other(_Origin):
    did: list[str] = field(default_factory=list)


@dataclass
class _LocalFile:
    file: str
    sha256: str
    needed: bool = True


@dataclass
class _Description:
    components: dict[str, _Origin]
    files: dict[str, _LocalFile]
    others: dict[str, _Other] = field(default_factory=dict)


def write_plugins(folder: Path, spec: Spec) -> None:
    """Writes plugins.json, and copies of local plugin files. What it said before, of a run that goes on, stays."""
    parts = {part.entry.component.kind + "/" + str(part.use): part.entry.plugin for part in spec.parts() if part.entry}
    others = _others(spec)
    origins = [*parts.values(), *(plugin for plugin, _ in others.values())]
    versions = {"variata": __version__, "torch": torch.__version__, "python": platform.python_version()}
    before = _read_others(folder)
    description = {
        "versions": versions,
        "components": {key: _origin(plugin) for key, plugin in parts.items()},
        "others": before | {key: _origin(plugin) | {"did": did} for key, (plugin, did) in others.items()},
        "files": _copied(folder, origins, {plugin.id for plugin in parts.values()}),
    }
    write_json(folder / PLUGINS, description)


def check_plugins(folder: Path) -> dict[str, str]:
    """ "kind/name" of every component to the distribution that gave it, all of which are here.

    What is here in another version, and what is not here and not needed, is a warning.

    Raises:
        RunError: a plugin that gave a component is not here.
    """
    description = read_record(folder / PLUGINS, _Description)
    known = {plugin.version for plugin in registry().loaded() if plugin.file is not None}
    for name, entry in description.files.items():
        if entry.sha256[:12] not in known:
            remedy = f"pass its file, as in --plugin {folder / entry.file}"
            if entry.needed:
                raise RunError(f"{folder}: was trained with the local plugin {name}: {remedy}, after reading it")
            _warn(f"{folder}: the local plugin {name} listened to it, and is not here; its weights do not need it")
    versions = {plugin.distribution: plugin.version for plugin in registry().loaded()}
    changed: dict[str, str] = {}
    for key, origin in (*description.components.items(), *description.others.items()):
        if origin.distribution == LOCAL:
            continue
        if origin.distribution in versions:
            if versions[origin.distribution] != origin.version:
                changed[origin.distribution] = origin.version
            continue
        remedy = _remedy(origin.distribution)
        if isinstance(origin, _Other):
            what = f"{key} {origin.version} ({', '.join(origin.did)})"
            _warn(f"{folder}: was trained with {what}, {remedy}; its weights do not need it")
        else:
            kind, _, use = key.partition("/")
            what = f"the {kind} {use} of {origin.distribution} {origin.version}"
            raise RunError(f"{folder}: needs {what}, {remedy}")
    for distribution, version in changed.items():
        _warn(f"{folder}: was trained with {distribution} {version}, this is {versions[distribution]}")
    return {key: origin.distribution for key, origin in description.components.items()}


def read_record(path: Path, record: type[T], remedy: str = "") -> T:
    """A JSON file, checked against a dataclass.

    Raises:
        RunError: it cannot be read, or says something else.
    """
    try:
        return TypeAdapter(record).validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: is missing or damaged{remedy}") from error


def _remedy(distribution: str) -> str:
    for plugin in registry().plugins:
        if plugin.distribution == distribution:
            return f"which is {plugin.status} here: {plugin.reason}"
    return f"which is not installed: pip install {distribution}"


def _origin(plugin: Plugin) -> dict[str, Any]:
    return {"distribution": plugin.distribution, "plugin": plugin.name, "version": plugin.version}


def _others(spec: Spec) -> dict[str, tuple[Plugin, list[str]]]:
    """What plugins did beside giving parts, by their id."""
    loaded = {plugin.id: plugin for plugin in registry().loaded()}
    did: dict[str, list[str]] = {}
    for preset in spec.presets:
        plugin, _, name = preset.rpartition("/")
        did.setdefault(plugin, []).append(f"preset {name}")
    for hook in RUN_HOOKS:
        for plugin, _ in registry().listeners(hook):
            did.setdefault(plugin.id, []).append(hook)
    return {name: (loaded[name], words) for name, words in did.items() if name in loaded}


def _read_others(folder: Path) -> dict[str, Any]:
    if not (folder / PLUGINS).is_file():
        return {}
    others = read_record(folder / PLUGINS, _Description).others
    return {key: vars(other) for key, other in others.items()}


def _copied(folder: Path, plugins: Iterable[Plugin], needed: set[str]) -> dict[str, Any]:
    local: dict[str, Any] = {}
    for plugin in plugins:
        if plugin.file is None or plugin.name in local:
            continue
        copy = folder / "plugins" / f"{plugin.name}.py"
        with contextlib.suppress(FileExistsError):
            copy.parent.mkdir()
        shutil.copyfile(plugin.file, copy)
        sha256 = hashlib.sha256(copy.read_bytes()).hexdigest()
        local[plugin.name] = {"file": f"plugins/{copy.name}", "sha256": sha256, "needed": plugin.id in needed}
    return local


def _warn(message: str) -> None:
    warnings.warn(message, VariataWarning, stacklevel=4)
