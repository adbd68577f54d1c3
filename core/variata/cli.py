"""The command line. `--help`, `list` and `plugins` never import torch; a user's mistake is a line, never a
traceback."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from .declarations import Command
from .errors import PluginError, Problem, UserError, VariataWarning, reason_of
from .plugins import BUILT_IN, Plugin, load_file, registry

app = typer.Typer(
    help="Generative models from interchangeable parts: assemble, train, compare, extend.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or a preset's name.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As in loss.beta=4.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]
PluginFiles = Annotated[list[str] | None, typer.Option("--plugin", metavar="FILE", help="Load a local plugin file.")]


@app.command()
def train(
    config: ConfigArgument,
    overrides: Overrides = None,
    run: Annotated[
        str | None, typer.Option("--run", "-r", metavar="DIR", help="The folder to leave the run in.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from a run's last checkpoint.")] = False,
    plugin: PluginFiles = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Train a model and leave a run folder; with --resume, CONFIG may be that folder."""
    _load_files(plugin)
    from . import api
    from .processes import first_of_several

    trained = api.train(config, overrides or (), run=run, quiet=quiet, resume=resume)
    if first_of_several():
        print(f"{trained.status}: {trained.path}")
        for file in sorted(trained.path.iterdir()):
            if file.suffix in (".png", ".html", ".txt", ".yaml", ".safetensors"):
                print(f"  {file}")
    if trained.status in ("interrupted", "terminated"):
        raise SystemExit(130 if trained.status == "interrupted" else 143)


@app.command()
def evaluate(
    run: RunArgument,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="samples=500 ais_steps=5000 seed=0 plots=false ..."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """Say how well a trained model models data, in nats with standard errors."""
    _load_files(plugin)
    from . import api
    from .processes import choose_device, joined, local_device, world

    options = api.evaluation_options([f"split={split}", *(settings or [])])
    with joined(choose_device(local_device("auto"))):
        estimates = api.evaluate(run, **options, quiet=as_json)
        if not world().first:
            return
    if as_json:
        print(json.dumps(estimates))
        return
    columns = ["metric", "value", "standard error", "Monte-Carlo error", "the truth is", "measure"]
    _table(columns, [_estimate_row(name, found) for name, found in estimates.items()])
    for note in dict.fromkeys(found["note"] for found in estimates.values() if "note" in found):
        names = [name for name, found in estimates.items() if found.get("note") == note]
        print(f"{', '.join(names)}: {note}")


@app.command()
def replay(run: RunArgument, plugin: PluginFiles = None) -> None:
    """Take the step at which a run met NaN or infinity again, and say where the first bad number comes from."""
    _load_files(plugin)
    from .training.replay import replay as replay_run

    found = replay_run(run)
    print(found.message)
    print(f"step {found.step}, phase {found.phase}, {found.examples} examples")
    rows = [[name, f"{low:g}", f"{high:g}", str(bad)] for name, (low, high, bad) in found.terms.items()]
    _table(["term", "least", "greatest", "not finite"], rows)
    for title, names in (("parameters", found.parameters), ("gradients", found.gradients)):
        print(f"{title} that are not finite: {', '.join(names) or 'none'}")
    print(f"the first module whose output is not finite: {found.module or 'none'}")


@app.command()
def check(config: ConfigArgument, overrides: Overrides = None, plugin: PluginFiles = None) -> None:
    """Check a configuration: every problem at once, and nothing is trained."""
    _load_files(plugin)
    from . import api
    from .processes import choose_device

    assembly = api.build(config, overrides or ())
    choose_device(assembly.training.device)
    assert assembly.data is not None
    model, examples = assembly.model, len(assembly.data.split("train"))
    parameters = sum(p.numel() for p in model.parameters())
    what = f"{type(model).__name__}, {parameters:,} parameters, x {list(model.spec.shape)}, {examples:,} to train on"
    print(f"{config}: fine ({what})")
    for line in model.spec.lines():
        print(f"  {line}")


@app.command()
def show(
    config: ConfigArgument,
    overrides: Overrides = None,
    diff: Annotated[bool, typer.Option("--diff", help="Only what the overrides change, and what they drop.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """Print a configuration with everything resolved, every default written out, and where each part is from; of a
    table also its columns."""
    _load_files(plugin)
    from .config import difference, load_spec

    spec = load_spec(config, overrides or ())
    if not diff:
        print(spec.dump(), end="")
        for preset in spec.presets:
            print(f"# It starts from the preset {preset.rpartition('/')[2]} of {preset.rpartition('/')[0]}")
        print("# Where the parts are from:")
        for part in spec.parts():
            if part.entry is not None:
                origin = part.entry.plugin
                print(f"# {part.path}: {part.entry.component.name} of {origin.id} {origin.version}".rstrip())
        _print_columns(spec)
        return
    for line in difference(load_spec(config), spec):
        print(line)
    for path in spec.dropped:
        print(f"{path}: dropped, since `use` changed beside it")


@app.command("list")
def list_components(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="Only this kind; `preset` lists presets.")
    ] = None,
    plugin: Annotated[str | None, typer.Option(metavar="NAME", help="Only what this plugin or package offers.")] = None,
) -> None:
    """List the components that are installed, with the plugin that each comes from."""
    from .errors import ConfigError, suggest

    plugins = registry()
    known = {
        **{name: item.description for name, item in plugins.kinds().items()},
        "preset": "a specification to start from",
    }
    if kind is not None and kind not in known:
        raise ConfigError(f"there is no kind {kind!r}{suggest(kind, known)}")
    named = [] if plugin is None else plugins.named(plugin)
    if named and all(found.status != "loaded" for found in named):
        raise PluginError([Problem(f"is {found.status}: {found.reason}", f"plugin {found.id}") for found in named])
    wanted = None if plugin is None else {found.id for found in named}
    order = {name: position for position, name in enumerate(known)}
    rows = [
        [e.component.kind, e.component.name, e.component.description, e.plugin.id]
        for e in sorted(plugins.entries(), key=lambda e: (order.get(e.component.kind, len(order)), e.component.name))
    ]
    presets = sorted(((name, offer[0]) for name, found in plugins.presets().items() for offer in found), key=str)
    for name, origin in presets:
        several = len(plugins.presets()[name]) > 1 and origin.distribution != BUILT_IN
        written = f"{origin.distribution}/{name}" if several else name
        rows.append(["preset", written, _first_comment(origin, name), origin.id])
    rows = [row for row in rows if kind in (None, row[0]) and (wanted is None or row[3] in wanted)]
    _table(["kind", "name", "what it is", "plugin"], rows)


@app.command()
def plugins(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this plugin or package.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Say what is wrong with those that others wrote.")] = False,
) -> None:
    """List the plugins that were found, and what became of each; or check them."""
    found = registry().plugins if name is None else registry().named(name)
    if check:
        from .inspection import inspect_plugins

        chosen = found if name is not None else [p for p in found if p.distribution != BUILT_IN]
        problems = inspect_plugins(registry(), chosen)
        if problems:
            raise PluginError(problems)
        print(f"{', '.join(p.id for p in chosen)}: fine" if chosen else "there are no plugins but the built-in ones")
        return
    if as_json:
        print(json.dumps([_describe(plugin) for plugin in found], indent=2))
        return
    rows = []
    for plugin in found:
        milliseconds = f"{1000 * plugin.seconds:.1f} ms"
        rows.append([plugin.id, plugin.version, plugin.status, milliseconds, plugin.reason or _provides(plugin)])
    _table(["plugin", "version", "status", "import", "provides"], rows)


@app.command()
def schema() -> None:
    """Print a JSON Schema of everything installed, for completion in an editor."""
    from .schema import json_schema

    print(json.dumps(json_schema(), indent=2))


def _print_columns(spec: Any) -> None:
    """As comments, so that what is printed is still a specification; where the table cannot be read, the reason."""
    from .assembly import build_data
    from .data import TableData

    if issubclass(spec["data"].part_class, TableData):
        try:
            lines = build_data(spec).spec.lines()
        except UserError as error:
            lines = [str(problem) for problem in error.problems]
        for line in lines:
            print(f"# {line}")


_LONGEST = 8
_SIGNS = {"lower_bound": ">=", "upper_bound": "<=", "exact": "=", "biased": "~"}


def _estimate_row(name: str, found: dict[str, Any]) -> list[str]:
    def number(key: str) -> str:
        value = found.get(key)
        if isinstance(value, list) and len(value) > _LONGEST:
            return f"{len(value)} numbers, in evaluation.json" if key == "value" else ""
        if isinstance(value, list):
            return " ".join("-" if item is None else f"{item:.4g}" for item in value)
        return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)

    numbers = [number(key) for key in ("value", "standard_error", "monte_carlo_error")]
    return [name, *numbers, _SIGNS.get(found.get("kind", ""), ""), found.get("measure", "")]


def _provides(plugin: Plugin) -> str:
    """What a plugin offers, by name where that is short."""
    by_kind: dict[str, list[str]] = {}
    for component in plugin.components:
        by_kind.setdefault(component.kind, []).append(component.name)
    offers = {**by_kind, "preset": sorted(plugin.presets), "kind": [k.name for k in plugin.kinds]}
    offers |= {"command": [c.name for c in plugin.commands], "hook": registry().hooks_of(plugin)}
    words = []
    for what, names in offers.items():
        words += [f"{what} ({len(names)})" if len(names) > 5 else f"{what} {', '.join(names)}"] if names else []
    return "; ".join(words)


def _describe(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "status": plugin.status,
        "reason": plugin.reason,
        "traceback": plugin.traceback,
        "import_seconds": round(plugin.seconds, 4),
        "components": [f"{c.kind}/{c.name}" for c in plugin.components],
        "presets": sorted(plugin.presets),
        "commands": [c.name for c in plugin.commands],
        "kinds": [kind.name for kind in plugin.kinds],
        "hooks": registry().hooks_of(plugin),
    }


def _first_comment(plugin: Plugin, name: str) -> str:
    with contextlib.suppress(OSError, UnicodeError):
        for line in plugin.presets[name].read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                return line.lstrip("# ")
    return ""


def _load_files(files: list[str] | None) -> None:
    for file in files or ():
        load_file(file)


def _table(titles: list[str], rows: list[list[str]]) -> None:
    """Aligned on a terminal; tab-separated where a program reads."""
    if not sys.stdout.isatty():
        for row in [titles, *rows]:
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    Console().print(table)


_added: set[tuple[str, str]] = set()


def _add_plugin_commands() -> None:
    """Those of the plugins that are loaded now; what was added by an earlier call stays."""
    taken = {info.name or (info.callback.__name__ if info.callback else "") for info in app.registered_commands}
    for plugin in registry().loaded():
        for command in plugin.commands:
            if (plugin.id, command.name) in _added:
                continue
            _added.add((plugin.id, command.name))
            name = command.name if command.name not in taken else f"{plugin.distribution}-{command.name}"
            taken.add(name)
            settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
            app.command(name, help=command.description, context_settings=settings)(_stand_in(command))


def _stand_in(command: Command) -> Callable[..., None]:
    """Imports the command's function when it is called, and hands it the words that follow."""

    def run(context: typer.Context) -> None:
        try:
            function = command.load()
        except Exception as error:
            raise PluginError(f"command {command.name} cannot be imported: {reason_of(error)}") from error
        inner = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        inner.command(context_settings={"help_option_names": ["-h", "--help"]})(function)
        if inner(args=context.args, prog_name=context.command_path, standalone_mode=False) == 130:
            raise KeyboardInterrupt  # which typer made a status of

    return run


def _warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: Any) -> None:
    if issubclass(category, VariataWarning):
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno), file=sys.stderr, end="")


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"variata {__version__}")
        raise SystemExit(0)


def main() -> None:
    """The console script: exit status 2 for a user's mistake, 130 for Ctrl-C."""
    warnings.showwarning = _warn
    nowhere = Path(os.devnull)  # in place of a stream that was closed (`>&-`)
    sys.stdout, sys.stderr = sys.stdout or nowhere.open("w"), sys.stderr or nowhere.open("w")
    try:
        _add_plugin_commands()
        status = app(standalone_mode=False)
        if status == 130:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        sys.stdout.flush()
        _exit(status if isinstance(status, int) else 0)
    except SystemExit as ended:
        _exit(ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if hasattr(error, "exit_code"):  # typer's own, of a command line that it cannot read
            show_usage = getattr(error, "show", lambda: None)
            show_usage()
            sys.exit(getattr(error, "exit_code", 1))
        if not (problems := _problems(error)):
            raise
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        _exit(2)


def _exit(status: int) -> None:
    if "torch" in sys.modules:
        from .processes import leave

        leave(status)
    sys.exit(status)


def _problems(error: Exception) -> list[Problem]:
    """What the user can do something about; nothing where the mistake is in a program."""
    if isinstance(error, UserError):
        return error.problems
    if isinstance(error, OSError):
        return [Problem(str(error))]
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate" in str(error)):
        return [Problem("out of memory; make batch_size, samples or the model smaller")]
    return []
