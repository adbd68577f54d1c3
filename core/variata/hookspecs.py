"""Every extension point. A plugin is a module named by an entry point of the group `variata`; it implements any of
these with `@variata.hookimpl`. Keep that module light: it is imported by `variata --help`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from .declarations import Command, Component, Kind

if TYPE_CHECKING:
    from .evaluation import EvaluationContext, MetricsContext
    from .run_folder import RunContext

hookspec = pluggy.HookspecMarker("variata")


@hookspec
def variata_kinds() -> Sequence[Kind]:  # pyright: ignore[reportReturnType]
    """New kinds of components: an abstract class each, whose constructors' keyword options users may write."""


@hookspec
def variata_components() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """Components, each `Component(kind, name, "package.module:Class", "one line")`."""


@hookspec
def variata_presets() -> Path | str:  # pyright: ignore[reportReturnType]
    """A folder of YAML files; each is a preset named by its file."""


@hookspec
def variata_commands() -> Sequence[Command]:  # pyright: ignore[reportReturnType]
    """Commands for `variata NAME`."""


@hookspec
def variata_run_started(context: RunContext) -> None:
    """Training begins, or goes on at `context.step`: the model is built and prepared, `context.path` exists."""


@hookspec
def variata_step_ended(context: RunContext) -> None:
    """One step of every phase was taken; `context.step` counts it. Called often: return quickly."""


@hookspec
def variata_metrics_logged(context: RunContext) -> None:
    """A row of metrics was added: `context.rows[-1]`."""


@hookspec
def variata_checkpoint_saved(context: RunContext) -> None:
    """A checkpoint of this moment stands in the run folder; at the end the weights too."""


@hookspec
def variata_run_ended(context: RunContext) -> None:
    """Training is over and saved; `context.status` says how ("finished", "interrupted", "terminated")."""


@hookspec
def variata_run_failed(context: RunContext) -> None:
    """Training stopped by an error, which is raised next; `context.status` is "not finite" or "failed". A process that
    is killed says nothing."""


@hookspec
def variata_default_metrics(context: MetricsContext) -> Sequence[str | Mapping[str, Any]]:  # pyright: ignore[reportReturnType]
    """Metrics, as YAML would write them, that say something of `context.model` where no likelihood follows from what it
    can do and none was asked for. Name none that would refuse."""


@hookspec
def variata_evaluated(context: EvaluationContext) -> None:
    """A run was evaluated. Listeners add the files that they leave to `context.pictures`, and draw none where
    `context.plots` is false. Of several processes the first one alone calls it, and evaluates by itself meanwhile."""
