"""`variata new-plugin NAME --kind KIND`."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from variata import ConfigError, PluginError, Problem, __version__, registry, suggest

from .package import DESCRIPTIONS, Package

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST = 50
_KINDS = ", ".join(DESCRIPTIONS)


def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As users will write it in YAML: my_prior.")],
    kind: Annotated[
        str | None,
        typer.Option("--kind", "-k", metavar="KIND", help=f"{_KINDS}. By default what NAME ends in, else prior."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The package's folder; by default variata-NAME.")
    ] = None,
) -> None:
    """Write a package for a part of your own, which builds, installs, and passes its tests as it stands."""
    package = _checked(name, kind)
    folder = out or Path(package.distribution)
    if folder.exists():
        raise ConfigError(Problem(f"{folder} exists already: choose another NAME or --out"))
    for path, text in package.files(__version__).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        print(file)
    print(f"\nNow: cd {shlex.quote(str(folder))}")
    print("     pip install -e '.[test]' && pytest")
    print(f"     variata train {package.distribution}/{package.name}")


def _checked(name: str, kind: str | None) -> Package:
    """The package, once it is sure that nothing is in its way.

    Raises:
        ConfigError: the name or the kind cannot be.
        PluginError: something has that name already.
    """
    bare = re.sub(r"^variata[-_]", "", name).replace("-", "_")
    if not _NAME.fullmatch(bare) or len(bare) > _LONGEST:
        message = f"{name!r} is no name: write it in snake_case, at most {_LONGEST} letters, as in my_prior"
        raise ConfigError(Problem(message, "NAME"))
    if kind is None:
        last = bare.rpartition("_")[2]
        kind = last if last in DESCRIPTIONS else "prior"
    if kind not in DESCRIPTIONS:
        raise ConfigError(Problem(f"there is no package for {kind!r}{suggest(kind, DESCRIPTIONS)}", "--kind"))
    package = Package(bare, kind)
    for entry in registry().entries(package.component_kind):
        if entry.component.name == bare:
            raise PluginError(f"there is the {package.component_kind} {bare} of {entry.plugin.id}: choose another NAME")
    for origin, _ in registry().presets().get(bare, []):
        raise PluginError(f"there is the preset {bare} of {origin.id}: choose another NAME")
    if find_spec(package.module) is not None:
        raise PluginError(f"there is a Python package {package.module} already: choose another NAME")
    return package
