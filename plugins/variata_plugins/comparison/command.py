"""`variata compare`."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from variata import ConfigError, Place, Problem, RunError, load_file

from .gathering import gathered
from .measures import Settings, check_counts, settings_of
from .plan import Contender, Plan, Request, check_begun, make_plan, view_name
from .progress import Display
from .record import FILE, Budget, Comparison
from .report.writing import PAGE, write_report
from .tables import differences_csv, markdown, tidy_csv, wide_csv
from .trial import Outcome, Stopped, Task, known
from .workers import perform_all

Files = Annotated[list[str] | None, typer.Option("--plugin", metavar="FILE", help="Load a local plugin file.")]


def compare(
    words: Annotated[
        list[str], typer.Argument(metavar="CONFIG|RUN... [KEY=VALUE]...", help="Presets, YAML files, run folders.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where it is left; to go on, the same.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="The budget of each, in epochs.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="The budget of each, in steps.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.001, help="The budget of each, in seconds of training.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each is trained from.")] = 1,
    grid: Annotated[
        list[str] | None, typer.Option("--grid", metavar="KEY=V1,V2", help="Each model once for each value; repeat.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="How many processes; threads are divided between them.")] = 1,
    evaluate: Annotated[
        list[str] | None,
        typer.Option("--evaluate", metavar="KEY=VALUE", help="As in samples=500, metrics=[fid]; repeat."),
    ] = None,
    plugin: Files = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Train models on the same data, splits, seeds and budget, and put them side by side."""
    for file in plugin or ():
        load_file(file)
    overrides = [word for word in words if _is_override(word)]
    models = [word for word in words if not _is_override(word)]
    request = Request(
        models=tuple(models),
        overrides=tuple(overrides),
        grid=tuple(grid or ()),
        seeds=seeds,
        budget=_budget(epochs, steps, seconds),
    )
    settings = settings_of(evaluate or ())
    plan = make_plan(request)
    check_counts(settings.metrics or (), plan.data, settings.options.split)
    folder = out or Path("comparisons") / _stem(models)
    check_begun(plan, folder)
    command = _command(request, folder, jobs, evaluate or (), plugin or ())
    record = carry_out(plan, settings, folder, command, jobs, tuple(evaluate or ()), tuple(plugin or ()), quiet)
    for name in (PAGE, FILE, *WRITERS):
        print(folder / name)
    failed = [f"{model.name}: failed: {model.failure}" for model in record.models if model.status == "failed"]
    for line in failed:
        print(f"warning: {line}", file=sys.stderr)
    if failed:
        raise SystemExit(1)


WRITERS = {
    "comparison.md": markdown,
    "figures.csv": tidy_csv,
    "models.csv": wide_csv,
    "differences.csv": differences_csv,
}
"""What is written beside comparison.json, from it alone."""


def carry_out(
    plan: Plan,
    settings: Settings,
    out: Path,
    command: str,
    jobs: int = 1,
    evaluate: tuple[str, ...] = (),
    plugins: Sequence[str] = (),
    quiet: bool = True,
) -> Comparison:
    """Does what is planned and not yet done, and writes the record after each trial.

    Raises:
        RunError: the folder cannot be written.
    """
    tasks = [task for contender in plan.contenders for task in _tasks(contender, plan, out, evaluate)]
    outcomes = {task.file.name: outcome for task in tasks if (outcome := known(task)) is not None}
    rest = [task for task in tasks if task.file.name not in outcomes]

    def write() -> Comparison:
        record = gathered(plan, tasks, outcomes, out, settings, command)
        _write(out / FILE, record.to_json())
        return record

    def done(task: Task, outcome: Outcome) -> None:
        outcomes[task.file.name] = outcome
        write()

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: cannot be made: {error.strerror}; choose another --out") from error
    with Display(len(tasks), len(outcomes), quiet) as display:
        _introduce(plan, display, len(outcomes), len(tasks))
        try:
            perform_all(rest, jobs, plugins, display, done)
        except (KeyboardInterrupt, Stopped) as stopped:
            write_tables(write(), out)
            display.line(f"stopped; the same command goes on: {command}")
            if isinstance(stopped, Stopped) and str(stopped) == "terminated":
                raise SystemExit(143) from None
            raise KeyboardInterrupt from None
    record = write()
    write_tables(record, out)
    return record


def write_tables(record: Comparison, out: Path) -> None:
    """Everything that follows from a record."""
    for name, text in WRITERS.items():
        _write(out / name, text(record))
    write_report(out)


def _tasks(contender: Contender, plan: Plan, out: Path, evaluate: tuple[str, ...]) -> list[Task]:
    """A trial for each seed; one of a run that is trained already, with its own."""
    own = contender.run
    before = {int(run.spec["seed"]): str(run.path) for run in ([own, *contender.others] if own is not None else [])}
    seeds = list(before) or plan.seeds
    return [
        Task(
            name=contender.name,
            seed=seed,
            source=before.get(seed, contender.source),
            texts=() if before else contender.texts,
            out=str(out),
            stem=contender.folder,
            common=plan.section,
            view=view_name(contender.model.spec),
            evaluate=evaluate,
            trained=own is not None,
            pictures=seed == seeds[0],
            seconds=plan.budget.value if plan.budget.kind == "seconds" and not before else None,
        )
        for seed in seeds
    ]


def _introduce(plan: Plan, display: Display, known: int, total: int) -> None:
    """What is about to be done, in a few lines."""
    spec = plan.data.spec
    use, budget = plan.section.get("use"), plan.budget
    display.line(f"data: {use}, x {list(spec.shape)}, {spec.describe()}; {spec.transform}")
    display.line(f"budget: {budget}{f' ({budget.reason})' if budget.reason else ''}")
    for contender in plan.contenders:
        if contender.section != plan.section:
            words = f"{contender.model.spec.describe()}; {contender.model.spec.transform}"
            display.line(f"{contender.name}: the same examples, {words}: {contender.reason}")
        elif contender.note:
            display.line(f"{contender.name}: {contender.note}")
    if known:
        display.line(f"{known} of {total} were done before")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error


def _is_override(word: str) -> bool:
    return bool(re.match(r"[A-Za-z_][\w.]*\s*=", word)) and not Path(word).exists()


def _budget(epochs: int | None, steps: int | None, seconds: float | None) -> Budget | None:
    asked = {"epochs": epochs, "steps": steps, "seconds": seconds}
    given = {kind: value for kind, value in asked.items() if value is not None}
    if len(given) > 1:
        names = " and ".join(f"--{kind}" for kind in given)
        raise ConfigError(Problem(f"one of them is the budget: {names} are given", "", Place("command line")))
    return next((Budget(kind=kind, value=float(value)) for kind, value in given.items()), None)  # pyright: ignore[reportArgumentType]


def _stem(models: Sequence[str]) -> str:
    names = [Path(word).stem if word.endswith((".yaml", ".yml")) else Path(word).name for word in models]
    return "-".join(names)[:80].rstrip("-") or "comparison"


def _command(request: Request, out: Path, jobs: int, evaluate: Sequence[str], plugins: Sequence[str]) -> str:
    """The line that makes the comparison again."""
    words = ["variata", "compare", *request.models, *request.overrides]
    for axis in request.grid:
        words += ["--grid", axis]
    if request.budget is not None:
        words += [f"--{request.budget.kind}", f"{request.budget.value:g}"]
    words += ["--seeds", str(request.seeds)] if request.seeds > 1 else []
    words += ["--jobs", str(jobs)] if jobs > 1 else []
    for text in evaluate:
        words += ["--evaluate", text]
    for file in plugins:
        words += ["--plugin", file]
    return shlex.join([*words, "--out", str(out)])
