"""A comparison as the sections of its page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from variata import RunError

from ..record import Comparison, ModelOf, Picture
from ..tables import Column as Comparable
from ..tables import better, tables_of, title_of
from .contents import Card, Cards, Cell, Column, Failure, Models, Page, Row, Section, Table
from .curves import charts_of
from .numbers import seconds_said
from .pictures import file_in, graph_markup, png_data
from .tables import NOTHING, absent_table, capital, difference_tables, every_figure, metric_tables

_PICTURES = {
    "data": "Data",
    "samples": "Samples",
    "reconstructions": "Reconstructions",
    "interpolation": "Between two examples",
    "nearest": "Samples and their nearest training images",
}
_KINDS = (
    "What may not be compared stands in tables of its own, with the reason. How the truth stands to a figure: = exact, "
    "≤ at most it, ≥ at least it, ~ biased. Beside each stands the standard error over examples (of several seeds, "
    "the mean of theirs); over seeds, the half-width of the 95 % Student-t interval of their mean. The bar reaches "
    "over that interval where there are several seeds, else two standard errors to each side."
)
_DETAILS = "The same in other forms, and what says how far a figure may be trusted."
_LINES = "Dotted lines are of training, others of validation."


def page_of(comparison: Comparison, folder: Path) -> Page:
    """The page of a comparison whose files lie in `folder`."""
    models = Models([m.name for m in comparison.models], [m.yaml for m in comparison.models])
    own, shared = charts_of(comparison, models)
    sections = [
        Section("summary", "Summary", _data_words(comparison), tables=[_summary(comparison, models)]),
        Section("failures", "Failures", failures=_failures(comparison, models)),
        *_figures(comparison, models),
        Section(
            "pairs",
            "Pairs",
            "Differences on the same examples, so that what is hard for both models cancels.",
            tables=difference_tables(comparison, models),
        ),
        Section("pictures", "Pictures", pictures=_pictures(comparison, models, folder)),
        Section(
            "graphs",
            "Graphs",
            "Each model as it trains, with a line for each term of its loss, and as it is used. Blue is what a plain "
            "autoencoder has not.",
            pictures=_graphs(comparison, models, folder),
        ),
        Section("objectives", "Objectives", f"What each model minimises, in its own unit. {_LINES}", charts=own),
        Section(
            "curves", "Curves", f"What else was logged on the way, with a line for each model. {_LINES}", charts=shared
        ),
        Section("specifications", "Specifications", specifications=list(models.known.values())),
        Section("every", "Every figure", tables=[every_figure(comparison, models)] if comparison.figures else []),
        Section(
            "again",
            "Reproduce",
            "This command makes the comparison anew:",
            commands=[comparison.command],
            tables=_made_of(comparison, models),
        ),
    ]
    versions = ", ".join(f"{name} {version}" for name, version in comparison.versions.items())
    return Page(
        comparison.title,
        _facts(comparison),
        list(models.known.values()),
        [section for section in sections if section.filled],
        f"Written by variata, {_time(comparison)}, with {versions}. This page holds all that it shows.",
    )


def _figures(comparison: Comparison, models: Models) -> list[Section]:
    """A section for each of the comparison's tables, of which the first says how to read all of them, and one for what
    stands in none."""
    found = [(table.title, table.columns) for table in tables_of(comparison)]
    placed = {column.metric for _, columns in found for column in columns}
    rest = [group for group in comparison.groups if group.metric not in placed]
    details = [Comparable(g.metric, g.name, title_of(g.metric), better(g.metric)) for g in rest]
    sections = []
    for title, columns in [*found, ("Details", details)]:
        name = re.sub(r"[^a-z]+", "-", title.lower())
        metrics = list(dict.fromkeys(column.metric for column in columns))
        tables = metric_tables(comparison, models, columns)
        tables += absent_table(comparison, models, metrics, f"absent-{name}", title)
        says = _DETAILS if columns is details else "" if sections else _KINDS
        sections.append(Section(name, title, says, tables=tables, narrow=True))
    return sections


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    data, budget = comparison.data, comparison.budget
    counts = ", ".join(f"{count:,} {split}" for split, count in data.examples.items())
    facts = [
        ("Data", f"{data.use}, {' × '.join(map(str, data.shape))}"),
        ("Examples", counts),
        ("Figures are of", f"the {data.split} split"),
        ("Budget", f"{budget}{f' ({budget.reason})' if budget.reason else ''}"),
        ("Seeds", ", ".join(map(str, comparison.seeds))),
        ("Made", _time(comparison)),
    ]
    return facts if comparison.complete else [*facts, ("State", "not complete: this is what there is so far")]


def _time(comparison: Comparison) -> str:
    return comparison.created.replace("T", " ").replace("Z", " UTC")


def _data_words(comparison: Comparison) -> str:
    """What forms of the examples the models were given."""
    forms = comparison.data.views
    same = "All on the same examples, in the same splits"
    if len(forms) < 2:
        return f"{same}: {forms[0].words}." if forms else ""
    said = [f"{capital(form.name)}: {form.words}{f' ({form.reason})' if form.reason else ''}." for form in forms]
    return f"{same}, in {len(forms)} forms. {' '.join(said)}"


def _summary(comparison: Comparison, models: Models) -> Table:
    view = {name: view.name for view in comparison.data.views for name in view.models}
    numeric = ("Parameters", "Steps", "Training", "1,000 samples")
    rows = []
    for model in comparison.models:
        steps, seconds, sampling = (_mean(model, name) for name in ("steps", "seconds", "sampling"))
        options = ", ".join(f"{key}={value}" for key, value in model.options.items())
        before = "" if model.trained_here else f"trained before: {model.budget}"
        cells = {
            "Model": Cell(model.name),
            "Status": Cell(model.status, sort=model.status, style="ok" if model.status == "ok" else "failed"),
            "What it is": Cell(model.kind, sort=model.kind),
            "Options": Cell(options, sort=options),
            "Data": Cell(view.get(model.name, NOTHING), sort=view.get(model.name, "")),
            "Parameters": _number(model.parameters, lambda count: f"{count:,.0f}"),
            "Steps": _number(steps, lambda count: f"{count:,.0f}"),
            "Training": _number(seconds, seconds_said),
            "1,000 samples": _number(sampling, seconds_said),
            "Note": Cell("; ".join(text for text in (before, model.note) if text), style="reason"),
        }
        rows.append((models[model.name], cells))
    heads = [head for head in rows[0][1] if any(cells[head].text for _, cells in rows)] if rows else []
    columns = tuple(Column(head, numeric=head in numeric) for head in heads)
    whole = tuple(Row((model,), tuple(cells[head] for head in heads)) for model, cells in rows)
    mean = ", and means over seeds" if len(comparison.seeds) > 1 else ""
    return Table("summary-table", "The models", f"Times are of this machine{mean}.", columns, whole)


def _number(value: float | None, said: Callable[[float], str]) -> Cell:
    return Cell(NOTHING, style="number") if value is None else Cell(said(value), sort=str(value), style="number")


def _mean(model: ModelOf, name: str) -> float | None:
    """Of a number of its runs, over seeds."""
    values = [value for run in model.runs if (value := getattr(run, name)) is not None]
    return fmean(values) if values else None


def _failures(comparison: Comparison, models: Models) -> list[Failure]:
    found = []
    for model in comparison.models:
        shown, told = models[model.name], set()
        for run in model.runs:
            if run.status != "ok" and run.failure:
                told.add(run.failure)
                found.append(Failure(shown, f"{model.name}, seed {run.seed}", run.status, run.failure))
        if model.status != "ok" and model.failure not in told:
            found.append(Failure(shown, model.name, model.status, model.failure or "no reason is known"))
    return found


def _pictures(comparison: Comparison, models: Models, folder: Path) -> list[Cards]:
    groups = []
    for what, title in _PICTURES.items():
        found = [picture for picture in comparison.pictures if picture.what == what]
        if found:
            cards = tuple(_card(picture, models, folder, title) for picture in found)
            groups.append(Cards(title, cards))
    return groups


def _card(picture: Picture, models: Models, folder: Path, title: str) -> Card:
    model = models[picture.model] if picture.model else None
    whose = model.name if model else "the data"
    try:
        data, width, height = png_data(file_in(folder, picture.file))
    except RunError as error:
        return Card(model, str(error), picture.caption)
    return Card(model, f"{title} of {whose}: {picture.caption}", picture.caption, data, width, height)


def _graphs(comparison: Comparison, models: Models, folder: Path) -> list[Cards]:
    cards = []
    for model in comparison.models:
        if model.graph:
            try:
                cards.append(Card(models[model.name], "", graph=graph_markup(file_in(folder, model.graph))))
            except RunError as error:
                cards.append(Card(models[model.name], str(error)))
    return [Cards("", tuple(cards), wide=True)] if cards else []


def _made_of(comparison: Comparison, models: Models) -> list[Table]:
    """The runs, and what they ran on."""
    rows = [
        Row(
            (models[model.name],),
            (
                Cell(model.name),
                Cell(str(run.seed), sort=str(run.seed), style="number"),
                Cell(run.status, sort=run.status, style="ok" if run.status == "ok" else "failed"),
                Cell(run.folder, sort=run.folder, style="long"),
                Cell(model.source, sort=model.source, style="long"),
            ),
        )
        for model in comparison.models
        for run in model.runs
    ]
    heads = (Column("Model"), Column("Seed", numeric=True), Column("Status"), Column("Folder"), Column("From"))
    facts = {
        **comparison.machine,
        **{f"version of {k}": v for k, v in comparison.versions.items()},
        **comparison.settings,
    }
    told = tuple(Row((), (Cell(str(name)), Cell(_plain(value), style="long"))) for name, value in facts.items())
    about = Table(
        "made-with", "Machine, versions and settings of the evaluation", "", (Column("Name"), Column("Value")), told
    )
    runs = Table("runs", "Runs", "A folder each; variata evaluate, sample and encode take it.", heads, tuple(rows))
    return [table for table in (runs, about) if table.rows]


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(below)}" for key, below in value.items())
    return str(value)
