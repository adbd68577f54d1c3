"""What a comparison will do, checked before anything of it trains: which models, on which data, for how long.

Every model is trained on the same examples in the same splits. The form that they have is the common one that most of
the models can take, among those that their configurations ask for (runs that are trained already cannot change theirs,
and come first). A model that refuses it takes another form of the *same* examples, where it can: a GAN, whose examples
are smooth, takes grey values where the others take binary ones. Everything else that does not fit is a problem, and all
problems are named together.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from variata import (
    Assembly,
    ConfigError,
    Data,
    DataSpec,
    Place,
    Problem,
    Run,
    RunError,
    UserError,
    build,
    load,
    registry,
    runs,
)

from .record import Budget

_FORM = ("binarize", "scale", "dequantize")
"""Options of a data set that change the form of its examples, and not which they are."""
_COMMAND_LINE = Place("command line")
_BUDGETS = ("train.epochs", "train.steps", "train.max_time")
_ENDLESS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        models: presets, YAML files and run folders.
        overrides: `KEY=VALUE` texts, of every model that is trained.
        grid: `KEY=V1,V2` texts: each model once for each combination.
        seeds: how many; the first is that of `seed=` among the overrides, or 0.
        budget: what each is trained with; None takes the most epochs that a configuration asks for.
    """

    models: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    grid: tuple[str, ...] = ()
    seeds: int = 1
    budget: Budget | None = None


@dataclass(kw_only=True)
class Contender:
    """One model of the comparison.

    Attributes:
        texts: overrides of its configuration, in order; nothing of a run that is trained already.
        run: a run that is trained already; `others` are further ones, of other seeds.
        assembly: built on its view of the data.
        section, data: its view. `reason`: why that is not the common one.
        note: where its own configuration asks for other data, which.
    """

    name: str
    source: str
    texts: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    run: Run | None = None
    others: list[Run] = field(default_factory=list)
    assembly: Assembly | None = None
    section: dict[str, Any] = field(default_factory=dict)
    data: Data | None = None
    reason: str = ""
    note: str = ""

    @property
    def folder(self) -> str:
        """What its files are named by."""
        return re.sub(r"[^A-Za-z0-9._=+-]+", "-", self.name).strip("-.") or "model"

    @property
    def model(self) -> Any:
        return self.run.model if self.run is not None else self.assembly and self.assembly.model


@dataclass(kw_only=True)
class Plan:
    """A comparison that can be done. `section` and `data` are the common view."""

    contenders: list[Contender]
    seeds: list[int]
    budget: Budget
    section: dict[str, Any]
    data: Data


def make_plan(request: Request) -> Plan:
    """Reads and builds everything once.

    Raises:
        ConfigError: every problem of every model, together.
    """
    seeds = _seeds(request)
    contenders = _contenders(request)
    problems = _Problems(contenders)
    for contender in contenders:
        _build_alone(contender)
    section, data = _common(contenders, problems)
    for contender in contenders:
        _settle(contender, section, data, problems)
    problems.report()
    budget = request.budget or _longest(contenders)
    for contender in contenders:
        contender.texts = (*contender.texts, *_of_budget(budget))
    return Plan(contenders=contenders, seeds=seeds, budget=budget, section=section, data=data)


class _Problems:
    """What is wrong, with the models that it is wrong with: the same thing of several is said once."""

    def __init__(self, contenders: Sequence[Contender]) -> None:
        self._several = len(contenders) > 1
        self._found: dict[tuple[str, Problem], list[str]] = {}

    def add(self, name: str, error: UserError, what: str = "") -> None:
        for problem in error.problems:
            self._found.setdefault((what, problem), []).append(name)

    def report(self) -> None:
        """Raises all of them."""
        lines = []
        for (what, problem), names in self._found.items():
            whose = f"{', '.join(names)}: " if self._several else ""
            lines.append(replace(problem, message=f"{whose}{what}{problem.message}"))
        if lines:
            raise ConfigError(lines)


def _contenders(request: Request) -> list[Contender]:
    """Models and what is swept of them, with names of their own."""
    if not request.models:
        raise ConfigError(Problem("name the models to compare: presets, YAML files or run folders"))
    if repeated := [word for word in dict.fromkeys(request.models) if request.models.count(word) > 1]:
        raise ConfigError(
            [Problem(f"{word} is named twice: name it once (--seeds trains it again)") for word in repeated]
        )
    swept = list(itertools.product(*(axis.items() for axis in map(_Axis, request.grid))))
    found: list[Contender] = []
    for word in request.models:
        if Path(word).is_dir() and registry().find_preset(word) is None:
            _add_run(load(word), found)
            continue
        name = Path(word).stem if word.endswith((".yaml", ".yml")) else word.rpartition("/")[2]
        for combination in swept:
            texts = [f"{key}={value}" for key, value in combination]
            options = {key: _number(value) for key, value in combination}
            contender = Contender(name=" ".join([name, *texts]), source=word, options=options)
            contender.texts = (*request.overrides, *texts)
            found.append(contender)
    if len(found) == len([c for c in found if c.run]) and (request.overrides or request.grid):
        raise ConfigError(Problem("runs that are trained already take no options: name a preset or a YAML file"))
    taken: set[str] = set()
    for contender in found:
        name, count = contender.name, 1
        while contender.folder.lower() in taken:  # folders of some machines do not tell a from A
            count += 1
            contender.name = f"{name}-{count}"
        taken.add(contender.folder.lower())
    return found


def _add_run(run: Run, found: list[Contender]) -> None:
    """A model of its own, or a further seed of one whose runs differ from it in nothing else."""
    for contender in found:
        if contender.run is not None and _but_for_seed(contender.run) == _but_for_seed(run):
            seeds = [one.spec["seed"] for one in (contender.run, *contender.others)]
            if run.spec["seed"] not in seeds:
                contender.others.append(run)
                return
    found.append(Contender(name=run.path.resolve().name, source=str(run.path), run=run))


def _but_for_seed(run: Run) -> dict[str, Any]:
    plain = run.spec.plain()
    return plain | {"seed": None, "train": plain["train"] | {"loggers": None}}


class _Axis:
    """One option of a grid, with its values."""

    def __init__(self, text: str) -> None:
        self.key, equals, values = text.partition("=")
        self.values = _split(values)
        message = ""
        if not equals or not self.key.strip() or not self.values:
            message = f"{text!r} is no axis; write KEY=V1,V2, as in loss.beta=1,2,4"
        elif self.key == "seed":
            message = "seeds are no axis, but what intervals are over: --seeds N"
        elif self.key.partition(".")[0] == "data":
            message = "models are compared on the same data: compare again on the other"
        elif self.key in _BUDGETS:
            message = "models are compared at the same budget: --epochs, --steps or --seconds, and compare again"
        elif repeated := sorted({value for value in self.values if self.values.count(value) > 1}):
            message = f"names {', '.join(repeated)} twice"
        if message:
            raise ConfigError(Problem(message, f"--grid {self.key}" if equals else "--grid", _COMMAND_LINE))

    def items(self) -> list[tuple[str, str]]:
        return [(self.key, value) for value in self.values]


def _split(text: str) -> list[str]:
    """At commas that stand within no bracket and no quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        depth += (sign in "[{") - (sign in "]}") if not quote else 0
        if sign == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else text
    return text


def _seeds(request: Request) -> list[int]:
    first = 0
    for text in request.overrides:
        key, _, value = text.partition("=")
        if key.strip() == "seed":
            if not value.strip().isdigit():
                raise ConfigError(Problem(f"must be an integer from 0 (got {value!r})", "seed", _COMMAND_LINE))
            first = int(value)
    return list(range(first, first + request.seeds))


def _build_alone(contender: Contender) -> None:
    """On the data that it asks for itself; where that fails, what the others train on may do."""
    if contender.run is not None:
        contender.section, contender.data = contender.run.spec.plain()["data"], contender.run.data
        return
    try:
        contender.assembly = build(contender.source, contender.texts)
    except UserError:
        return
    contender.section, contender.data = contender.assembly.spec.plain()["data"], contender.assembly.data


def _common(contenders: Sequence[Contender], problems: _Problems) -> tuple[dict[str, Any], Data]:
    """The view that most can take; of several the one that the first of them asks for.

    Raises:
        ConfigError: none of the models can be built.
    """
    candidates: list[Contender] = []
    for contender in contenders:
        if contender.data is not None and all(contender.section != other.section for other in candidates):
            candidates.append(contender)
    if not candidates:
        for contender in contenders:
            try:
                build(contender.source, contender.texts)
            except UserError as error:
                problems.add(contender.name, error)
        problems.report()

    def takers(candidate: Contender) -> tuple[int, int]:
        takes = [c for c in contenders if _takes(c, candidate)]
        return sum(c.run is not None for c in takes), len(takes)

    best = max(candidates, key=takers)  # the first of those that are equal
    assert best.data is not None
    return best.section, best.data


def _takes(contender: Contender, candidate: Contender) -> bool:
    if contender.section == candidate.section:
        return True
    if contender.run is not None:
        return False
    try:
        build(contender.source, contender.texts, data=candidate.data)
    except UserError:
        return False
    return True


def _settle(contender: Contender, section: dict[str, Any], data: Data, problems: _Problems) -> None:
    """Gives a model the common view, or the nearest that it can take."""
    if contender.section == section and contender.data is not None:
        contender.data = data
        contender.texts = (*contender.texts, f"data={json.dumps(section)}") if contender.run is None else ()
        return
    if contender.run is not None:
        if not _same_examples(contender.section, section):
            message = f"was trained on other data ({_words(contender.section)}; the others: {_words(section)})"
            problems.add(contender.name, RunError(f"{message}: compare it with models of its own data"))
            return
        contender.reason = "it was trained on this form before"
        return
    contender.note = _moved(contender.section, section)
    try:
        _rebuilt(contender, section)
        return
    except UserError as error:
        refusal = error
    others = [contender.section] if contender.section and _same_examples(contender.section, section) else []
    others += [section | {"binarize": "none"}] if section.get("binarize", "none") != "none" else []
    for other in others:
        try:
            _rebuilt(contender, other)
        except UserError:
            continue
        contender.reason = "; ".join(problem.message for problem in refusal.problems)
        contender.note = ""
        return
    what = "" if _is_at_fault(contender) else f"cannot share the data ({data.spec.describe()}; {_words(section)}): "
    problems.add(contender.name, refusal, what)


def _moved(own: Mapping[str, Any], common: Mapping[str, Any]) -> str:
    """In what data that a configuration asks for differs from the common view."""
    if own.get("use", common["use"]) != common["use"]:
        return f"its own configuration is of {own['use']}"
    said = [f"{key}={json.dumps(value)}" for key, value in own.items() if common.get(key) != value]
    return f"its own configuration says data.{', data.'.join(said)}" if said else ""


def _is_at_fault(contender: Contender) -> bool:
    """Whether a configuration cannot be built on any data, its own included."""
    try:
        build(contender.source, [text for text in contender.texts if not text.startswith("data")])
    except UserError:
        return True
    return False


def _rebuilt(contender: Contender, section: Mapping[str, Any]) -> None:
    text = f"data={json.dumps(section)}"
    assembly = build(contender.source, (*contender.texts, text))
    contender.assembly, contender.texts = assembly, (*contender.texts, text)
    contender.section, contender.data = assembly.spec.plain()["data"], assembly.data


def _same_examples(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sections `data` are of the same examples in the same splits, whatever form these have."""
    kept = ({key: value for key, value in section.items() if key not in _FORM} for section in (one, other))
    return next(kept) == next(kept)


def _words(section: Mapping[str, Any]) -> str:
    form = [f"{key}={section[key]}" for key in _FORM if section.get(key) not in (None, "none", [0.0, 1.0], (0.0, 1.0))]
    return ", ".join([str(section.get("use")), *form])


def _longest(contenders: Iterable[Contender]) -> Budget:
    """The most epochs that a configuration asks for: no model is trained for less than its own says."""
    asked: dict[str, int] = {}
    for contender in contenders:
        if contender.assembly is not None:
            training, data = contender.assembly.training, contender.assembly.data
            assert data is not None
            steps = max(1, math.ceil(len(data.split("train")) / training.batch_size))
            asked[contender.name] = math.ceil(training.steps / steps) if training.steps else training.epochs
    if not asked:
        return Budget(kind="epochs", value=0, reason="every run was trained before, and keeps its own")
    name = max(asked, key=lambda name: asked[name])
    reason = (
        f"the most that a configuration asks for, that of {name}" if len(asked) > 1 else "as its configuration says"
    )
    return Budget(kind="epochs", value=asked[name], reason=reason)


def _of_budget(budget: Budget) -> list[str]:
    """A budget as overrides of a specification."""
    if budget.kind == "epochs":
        return [f"train.epochs={budget.value:.0f}", "train.steps=null", "train.max_time=null"]
    if budget.kind == "steps":
        return [f"train.steps={budget.value:.0f}", "train.max_time=null"]
    return [f"train.epochs={_ENDLESS}", "train.steps=null", f"train.max_time={budget.value!r}"]


def view_name(spec: DataSpec) -> str:
    """A form of examples in a word."""
    return {"binary": "binary", "levels": "grey", "interval": "continuous", "mixed": "columns"}.get(
        spec.support, "real"
    )


def check_begun(plan: Plan, out: Path) -> None:
    """Holds what lies in the folder of an earlier call against the plan: a run that was begun otherwise is not gone on
    with.

    Raises:
        RunError: with each difference.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out}: is no folder; choose another --out")
    begun = out / "runs"
    if not begun.is_dir():
        if out.is_dir() and any(out.iterdir()):
            raise RunError(f"{out}: is not empty, and no comparison; choose another --out")
        return
    records = {record.path.name: record for record in runs(begun)}
    lines = []
    for contender in plan.contenders:
        for seed in plan.seeds:
            record = records.get(f"{contender.folder}-seed{seed}")
            if contender.assembly is None or record is None:
                continue
            wanted = build(contender.source, (*contender.texts, f"seed={seed}")).spec.plain()
            now, then = _plain(_flat(wanted)), _plain(record.options)
            for key in sorted({*now, *then} - {"train.loggers"}):
                if now.get(key) != then.get(key) and not (plan.budget.kind == "seconds" and key in _BUDGETS):
                    lines.append(
                        f"{record.path}: was begun with {key}={then.get(key)}, and this asks for {now.get(key)}"
                    )
    if lines:
        raise RunError([*(Problem(line) for line in lines[:10]), Problem("choose another --out, to keep both")])


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(options), default=str))


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {path: value}
    found: dict[str, Any] = {}
    for key, below in value.items():
        found |= _flat(below, f"{path}.{key}" if path else str(key))
    return found
