"""From what trials found to one record: absent figures with their reasons, groups, intervals, differences."""

from __future__ import annotations

import itertools
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

import variata
from variata import SplitName, read_log_likelihoods

from .drawing import draw_data
from .groups import absent, groups_of, kind_of_difference
from .measures import Settings
from .plan import Contender, Plan, view_name
from .record import Comparison, DataUsed, Difference, Figure, Interval, ModelOf, RunOf, View
from .statistics import half_width, paired
from .trial import Outcome, Task, now

_PAIRED = ("nll",)


def gathered(
    plan: Plan, tasks: Sequence[Task], outcomes: Mapping[str, Outcome], out: Path, settings: Settings, command: str
) -> Comparison:
    """The record as far as trials were done.

    Args:
        outcomes: by the name of a task's file.
    """
    models, figures, pictures, refused = [], [], [], {}
    split = settings.options.split
    for contender in plan.contenders:
        own = [task for task in tasks if task.name == contender.name]
        done = [outcomes[task.file.name] for task in own if task.file.name in outcomes]
        models.append(_model(contender, own, outcomes))
        for outcome in done:
            if outcome.run.status == "ok":
                figures += outcome.figures
                pictures += outcome.pictures
                refused[contender.name] = outcome.refused
    figures += list(_absent(models, figures, refused))
    return Comparison(
        title=", ".join(model.name for model in models),
        command=command,
        created=now(),
        versions=_versions(),
        machine=_machine(),
        budget=plan.budget,
        seeds=plan.seeds,
        data=_data(plan, split),
        models=models,
        settings=asdict(settings.options),
        complete=len(outcomes) == len(tasks),
        figures=figures,
        groups=groups_of(figures),
        intervals=list(_intervals(figures)),
        differences=list(_differences(models, figures, out)),
        pictures=[*draw_data(plan.data, out, split), *pictures],
    )


def _model(contender: Contender, tasks: Sequence[Task], outcomes: Mapping[str, Outcome]) -> ModelOf:
    """One model with its runs; the first that ended says what it is."""
    runs: list[RunOf] = []
    for task in tasks:
        outcome = outcomes.get(task.file.name)
        skipped = RunOf(folder=f"runs/{task.folder.name}", seed=task.seed, status="skipped")
        runs.append(outcome.run if outcome else skipped)
    done = [outcomes[task.file.name] for task in tasks if task.file.name in outcomes]
    told = next((outcome for outcome in done if outcome.kind), None)
    failures = list(dict.fromkeys(run.failure for run in runs if run.failure))
    statuses = {run.status for run in runs}
    return ModelOf(
        name=contender.name,
        source=contender.source,
        kind=told.kind if told else type(contender.model).__name__,
        status="ok" if statuses == {"ok"} else "failed" if "failed" in statuses else "skipped",
        runs=runs,
        yaml=told.yaml if told else contender.assembly.spec.dump() if contender.assembly else "",
        parameters=told.parameters if told else None,
        options=contender.options,
        capabilities=told.capabilities if told else [],
        failure="; ".join(failures),
        trained_here=contender.run is None,
        budget=told.budget if told else "",
        graph=told.graph if told else "",
        note="; ".join(text for text in (contender.reason, contender.note) if text),
    )


def _absent(
    models: Sequence[ModelOf], figures: Sequence[Figure], refused: Mapping[str, Mapping[str, str]]
) -> list[Figure]:
    """A row for each figure that some model has and another has not, with the reason."""
    metrics = list(dict.fromkeys([f.metric for f in figures] + [m for why in refused.values() for m in why]))
    there = {(figure.model, figure.seed, figure.metric) for figure in figures}
    found = []
    for model, metric in itertools.product(models, metrics):
        for run in model.runs:
            if (model.name, run.seed, metric) not in there:
                why = absent(model, metric, refused.get(model.name, {}).get(metric, ""))
                found.append(Figure(model=model.name, seed=run.seed, metric=metric, value=None, absent=why))
    return found


def _intervals(figures: Sequence[Figure]) -> list[Interval]:
    """Over the seeds of each model and metric."""
    values: dict[tuple[str, str, str], list[Figure]] = {}
    for figure in figures:
        if figure.value is not None:
            values.setdefault((figure.model, figure.metric, figure.group), []).append(figure)
    found = []
    for (model, metric, group), of in values.items():
        numbers = [figure.value for figure in of if figure.value is not None]
        errors = [figure.standard_error for figure in of if figure.standard_error is not None]
        found.append(
            Interval(
                model=model,
                metric=metric,
                group=group,
                mean=sum(numbers) / len(numbers),
                seeds=len(numbers),
                standard_error=sum(errors) / len(errors) if errors else None,
                half_width=half_width(numbers),
            )
        )
    return found


def _differences(models: Sequence[ModelOf], figures: Sequence[Figure], out: Path) -> list[Difference]:
    """a - b of -log p(x) between any two models of a group, on the same examples."""
    found: list[Difference] = []
    for metric in _PAIRED:
        by_group: dict[str, list[tuple[ModelOf, Figure, dict[int, Tensor]]]] = {}
        for model in models:
            own = [f for f in figures if (f.model, f.metric) == (model.name, metric) and f.value is not None]
            each = {run.seed: values for run in model.runs if (values := _each(out, run)) is not None}
            if own and each:
                by_group.setdefault(own[0].group, []).append((model, own[0], each))
        for group, members in by_group.items():
            for (a, figure_a, each_a), (b, figure_b, each_b) in itertools.combinations(members, 2):
                seeds = [seed for seed in each_a if seed in each_b] or None
                of_a = [each_a[seed] for seed in seeds] if seeds else list(each_a.values())[:1]
                of_b = [each_b[seed] for seed in seeds] if seeds else list(each_b.values())[:1]
                if {len(values) for values in [*of_a, *of_b]} != {len(of_a[0])}:
                    continue
                value, error, width = paired([-values for values in of_a], [-values for values in of_b])
                found.append(
                    Difference(
                        metric=metric,
                        group=group,
                        a=a.name,
                        b=b.name,
                        value=value,
                        standard_error=error,
                        examples=len(of_a[0]),
                        seeds=len(of_a),
                        half_width=width,
                        kind=kind_of_difference(figure_a.kind, figure_b.kind),
                    )
                )
    return found


def _each(out: Path, run: RunOf) -> Tensor | None:
    """log p(x) of each example, where the run was evaluated."""
    return read_log_likelihoods(out / run.folder) if run.status == "ok" else None


def _data(plan: Plan, split: str) -> DataUsed:
    views: list[View] = []
    common = [c for c in plan.contenders if c.section == plan.section]
    for contender in [*common, *(c for c in plan.contenders if c.section != plan.section)]:
        view = next((view for view in views if view.options == contender.section), None)
        if view is None:
            spec = plan.data.spec if contender.section == plan.section else contender.model.spec
            words = f"{spec.describe()}; {spec.transform}"
            name = view_name(spec)
            view = View(name=name, words=words, options=contender.section, models=[], reason=contender.reason)
            views.append(view)
        view.models.append(contender.name)
    counts = {name: len(plan.data.split(name)) for name in get_args(SplitName)}
    use, shape = str(plan.section.get("use")), list(plan.data.spec.shape)
    return DataUsed(use=use, shape=shape, examples=counts, split=split, views=views)


def _versions() -> dict[str, str]:
    return {"variata": variata.__version__, "torch": torch.__version__, "python": platform.python_version()}


def _machine() -> dict[str, Any]:
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    found = {"processor": model or platform.processor(), "cores": os.cpu_count(), "system": platform.system()}
    return found | {"threads": torch.get_num_threads(), "gpu": torch.cuda.is_available()}
