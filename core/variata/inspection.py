"""What is wrong with an installed plugin (`variata plugins --check`): each problem in a line, with its remedy.

What an import does is seen in processes of their own: how long it takes, what it prints, what it changes for everybody.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distribution, entry_points
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from .declarations import Component
from .errors import Problem, UserError, reason_of
from .plugins import BUILT_IN, CORE_KINDS, GROUP, Plugin, Registry

SLOW = 0.2
"""Seconds that the import of a plugin's module may take, of CPU time or of waiting: `variata --help` waits for it."""

_HANGS = 120
_NOTHING: dict[str, Any] = {"printed": "", "imported": [], "seconds": 0.0, "waited": 0.0, "changed": [], "problems": []}


def inspect_plugins(plugins: Registry, chosen: Sequence[Plugin]) -> list[Problem]:
    """Every problem of these plugins, one after the other."""
    return [Problem(text, plugin.id) for plugin in chosen for text in _problems(plugins, plugin)]


def _problems(plugins: Registry, plugin: Plugin) -> Iterator[str]:
    if plugin.status in ("failed", "incompatible"):
        trace = " (`variata plugins --json` holds the traceback)" if plugin.traceback else ""
        yield f"{plugin.status}: {plugin.reason}{trace}"
    if plugin.status != "loaded":
        return
    if plugin.distribution != BUILT_IN:
        yield from _requirement(plugin)
        yield from _names(plugins, plugin)
    if plugin.file is None:
        yield from _import(plugin, plugins.environment)
    for component in plugin.components:
        if not component.description.strip():
            yield f"{component.kind} {component.name} has no description: `variata list` shows it, give it a line"
    yield from _presets(plugin)


def _requirement(plugin: Plugin) -> Iterator[str]:
    if plugin.file is not None:
        return
    names = []
    for text in distribution(plugin.distribution).requires or []:
        try:
            names.append(Requirement(text).name)
        except InvalidRequirement:
            yield f"requires {text!r}, which cannot be read: mend it in its pyproject.toml"
    if BUILT_IN not in names:
        yield "does not say which variata it needs: add variata>=... to the dependencies in its pyproject.toml"


def _names(plugins: Registry, plugin: Plugin) -> Iterator[str]:
    ours = {f"{e.component.kind} {e.component.name}" for e in plugins.entries() if e.plugin.distribution == BUILT_IN}
    for component in plugin.components:
        if (what := f"{component.kind} {component.name}") in ours:
            yield f"takes the name of the built-in {what}: rename it, or everybody writes {plugin.distribution}/..."
    for name in plugin.presets:
        if any(other.distribution == BUILT_IN for other, _ in plugins.presets()[name]):
            full = f"{plugin.distribution}/{name}"
            yield f"its preset {name} is hidden by the built-in one: rename it (it is found as {full})"
    kinds = {kind.name: BUILT_IN for kind in CORE_KINDS}
    kinds |= {kind.name: p.id for p in plugins.loaded() if p is not plugin for kind in p.kinds}
    for kind in plugin.kinds:
        if kind.name in kinds:
            yield f"declares the kind {kind.name}, which is that of {kinds[kind.name]}: rename it"
    taken = {command.name for p in plugins.loaded() if p.distribution == BUILT_IN for command in p.commands}
    for command in plugin.commands:
        if command.name in taken | _own_commands():
            full = f"{plugin.distribution}-{command.name}"
            yield f"takes the name of the command {command.name}, and is called {full}: rename it"


def _own_commands() -> set[str]:
    """Those of variata itself: what stands in for a plugin's is a function within another."""
    from .cli import app

    own = [info for info in app.registered_commands if info.callback and "<locals>" not in info.callback.__qualname__]
    return {info.name or info.callback.__name__ for info in own if info.callback}


def _import(plugin: Plugin, environment: Mapping[str, str]) -> Iterator[str]:
    light = _watched(plugin, "module", environment)
    if light["problems"]:
        yield from light["problems"]
        return
    if "torch" in light["imported"]:
        yield (
            "imports torch with its module, so that `variata --help` waits for it: name classes by strings "
            '("package.module:Class"), and import torch in the modules that these name'
        )
    elif light["seconds"] > SLOW:
        yield f"takes {light['seconds']:.1f} s of CPU time to import: import what is large where it is used"
    elif (waited := _waited(plugin, environment, light["waited"])) > SLOW:
        yield f"waits for {waited:.1f} s while it is imported: reach for files and networks where they are used"
    heavy = _watched(plugin, "components", environment)
    if printed := light["printed"] or heavy["printed"]:
        yield f"prints on import ({printed[:60]!r}): print nothing, or only in a function that is called"
    for what in heavy["changed"]:
        yield f"importing it changes {what} for everybody: leave that to the user, or change it where it is needed"
    yield from heavy["problems"]


def _waited(plugin: Plugin, environment: Mapping[str, str], once: float) -> float:
    """The least of three times, where one was long: that may have been the machine's doing."""
    again = [_watched(plugin, "module", environment)["waited"] for _ in range(2 * (once > SLOW))]
    return min([once, *again])


def _presets(plugin: Plugin) -> Iterator[str]:
    from .config import load_spec

    for name in plugin.presets:
        try:
            load_spec(f"{plugin.distribution}/{name}")
        except UserError as error:
            yield f"its preset {name} is refused: {error.problems[0]}"


# In a process of its own


def _watched(plugin: Plugin, what: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What importing a plugin's module ("module") or everything that it declares ("components") does."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        program = "import sys; from variata.inspection import watch; watch(*sys.argv[1:])"
        words = [sys.executable, "-c", program, plugin.distribution, plugin.name, what, str(report)]
        environment = {**environment, "PYTHONWARNINGS": ""}
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                check=False,
                env=environment,
                timeout=_HANGS,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return {**_NOTHING, "problems": [f"is not imported within {_HANGS} s: it waits for something"]}
        if not report.exists():
            last = (done.stderr.strip() or "it ended the process").splitlines()[-1]
            return {**_NOTHING, "problems": [f"cannot be imported: {last}"]}
        return json.loads(report.read_text(encoding="utf-8"))


def watch(distribution_name: str, name: str, what: str, report: str) -> None:
    """Imports a plugin and writes down what that did; in a process that does nothing else."""
    (point,) = [p for p in entry_points(group=GROUP, name=name) if p.dist and p.dist.name == distribution_name]
    if what == "components":
        # So that what these set up themselves, or draw, is there before.
        import torch  # noqa: F401

        from . import api  # noqa: F401
    before, printed = _state(), Path(f"{report}.printed")
    with _printing_to(printed):
        cpu, wall = time.process_time(), time.perf_counter()
        module = point.load()
        seconds = time.process_time() - cpu
        waited = time.perf_counter() - wall - seconds
        problems = _unusable(module) if what == "components" else []
    after = _state()
    found = {
        "printed": printed.read_text(encoding="utf-8", errors="replace").strip(),
        "imported": sorted({name.partition(".")[0] for name in sys.modules}),
        "seconds": seconds,
        "waited": waited,
        "changed": [key for key in before if before[key] != after.get(key)],
        "problems": problems,
    }
    Path(report).write_text(json.dumps(found), encoding="utf-8")


def _unusable(module: Any) -> list[str]:
    from .signature import signature_of

    problems: list[str] = []
    for hook in ("variata_kinds", "variata_components", "variata_commands"):
        for item in getattr(module, hook, list)():
            try:
                loaded = item.load()
                if isinstance(item, Component):
                    signature_of(loaded)
            except (Exception, SystemExit) as error:
                what = f"{getattr(item, 'kind', hook.removeprefix('variata_').removesuffix('s'))} {item.name}"
                problems.append(f"{what} cannot be used: {reason_of(error)}")
    return problems


@contextlib.contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Whatever is written to either stream, be it from C."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(stream) for stream in (1, 2)]
    with path.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, old in zip((1, 2), kept, strict=True):
                os.dup2(old, stream)
                os.close(old)


def _state() -> dict[str, str]:
    """What a process has one of, and an import must leave as it was, by how it is called."""
    found = {
        "the environment": repr(sorted(os.environ.items())),
        "the working directory": os.getcwd(),
        "sys.path": repr(sys.path),
        "the filters of warnings": repr([item for item in warnings.filters if item[2] is Warning or item[1] is None]),
        "the state of Python's generator": repr(hash(random.getstate())),
        "the handlers and the level of the root logger": repr((logging.root.handlers, logging.root.level)),
        "the handlers of signals": repr([signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]),
        "sys.excepthook": repr(sys.excepthook),
    }
    if "numpy" in sys.modules:
        import numpy as np

        found["the state of numpy's generator"] = repr(hash(np.random.get_state()[1].tobytes()))  # pyright: ignore
        found["what numpy does about errors"] = repr(np.geterr())
    if "torch" in sys.modules:
        import torch

        found |= {
            "torch's default type": str(torch.get_default_dtype()),
            "torch's default device": str(torch.get_default_device()),
            "torch's number of threads": str(torch.get_num_threads()),
            "whether torch takes gradients": str(torch.is_grad_enabled()),
            "whether torch is deterministic": str(torch.are_deterministic_algorithms_enabled()),
            "whether torch checks distributions": str(torch.distributions.Distribution._validate_args),
            "torch's precision of products": torch.get_float32_matmul_precision(),
            "torch's seed": repr(hash(torch.get_rng_state().numpy().tobytes())),
            "torch's detection of anomalies": str(torch.is_anomaly_enabled()),
            "how torch multiplies in cuBLAS and cuDNN": repr(
                (
                    torch.backends.cuda.matmul.allow_tf32,
                    torch.backends.cudnn.allow_tf32,
                    torch.backends.cudnn.benchmark,
                    torch.backends.cudnn.deterministic,
                )
            ),
        }
    return found
