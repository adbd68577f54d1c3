"""The Python interface: build, train, load, evaluate, prepare."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import __version__
from .assembly import Assembly, Builder, assemble, prepare
from .checkpoint import write_json
from .config import Spec, check_options, load_spec
from .data import Data, SplitName
from .errors import ConfigError, Problem, RunError, VariataWarning
from .estimates import Estimate, EvaluationSettings
from .evaluation import EvaluationContext, MetricsContext, evaluated, has_estimates, has_likelihood, measure
from .interfaces import Metric
from .plugins import registry
from .processes import alone, choose_device, joined, local_device, started_by_launcher, world
from .progress import Reporter
from .run_folder import Run, load, write_log_likelihoods
from .training.fit import resumed_config, train_assembly
from .training.launching import launch
from .training.saving import Checkpoints

Config = str | Path | Mapping[str, Any] | Spec


def build(config: Config, overrides: Any = (), **live: Any) -> Assembly:
    """Builds a model with its loss and its data.

    Args:
        config: a YAML file, a preset's name, or a mapping.
        overrides: a mapping of dotted keys to values (`{"loss.beta": 4}`), or `KEY=VALUE` texts.
        live: objects in place of components: `loss=`, `data=`, `model=`, or an option of the model (`encoder=`).

    Raises:
        ConfigError: every problem of the specification, each with its place and its remedy.
    """
    return assemble(load_spec(config, overrides, live))


@dataclass(kw_only=True)
class _DataSection:
    data: Data


def build_data(section: str | Mapping[str, Any]) -> Data:
    """The data set that a section `data` of a specification describes: a name, or a mapping with `use`.

    Raises:
        UserError: as for `build`.
    """
    return Builder().construct(check_options(_DataSection, {"data": section})["data"], {})


def train(
    config: Config,
    overrides: Any = (),
    *,
    run: str | Path | None = None,
    quiet: bool = True,
    resume: bool = False,
    **live: Any,
) -> Run:
    """Trains a model and leaves a run folder.

    Args:
        config, overrides, live: as for `build`; to resume, also a run folder.
        run: the folder; by default one named by the configuration and the time, under `runs/`.
        quiet: show no progress.
        resume: go on from the last checkpoint in the run's folder, exactly; begin where there is none.

    Returns:
        The run; `run.status` is "interrupted" where Ctrl-C ended it, "terminated" where SIGTERM did.

    Raises:
        UserError: the specification, the data or the folder is at fault; or it is not what the run was begun with.
        NonFinite: the loss or a gradient became NaN or infinite; the weights before it are saved.
    """
    if resume:
        config, run = resumed_config(config, run)
    spec = load_spec(config, overrides, live)
    spec.name = Path(run).name if resume and run is not None else spec.name
    options = spec["train"].options
    if options["devices"] > 1 and not started_by_launcher():
        folder = launch(spec, run, quiet, resume, live)
        return load(folder)
    with joined(choose_device(local_device(options["device"]))) as where:
        goes_on = resume and run is not None and bool(Checkpoints(Path(run)).all())
        assembly = where.first_alone(lambda: assemble(spec, resumes=goes_on))
        return train_assembly(assembly, run=run, quiet=quiet, resume=resume)


@dataclass(frozen=True, kw_only=True)
class _Options(EvaluationSettings):
    """The options of `evaluate`, as a specification writes them."""

    metrics: tuple[Metric, ...] = ()
    plots: bool = True
    out_of_distribution: Data | None = None


def evaluation_options(overrides: Any) -> dict[str, Any]:
    """The options of `evaluate` from `KEY=VALUE` texts or a mapping, with every metric built.

    Raises:
        ConfigError: an unknown option, or a value of the wrong type.
    """
    options = check_options(_Options, overrides)
    other = options["out_of_distribution"]
    options["out_of_distribution"] = None if other is None else Builder().construct(other, {})
    return options | {"metrics": [Builder().construct(part, {}) for part in options["metrics"]]}


def evaluate(
    run: Run | str | Path,
    *,
    split: SplitName = "test",
    samples: int = 500,
    seed: int = 0,
    batch_size: int = 256,
    ais_steps: int = 5000,
    ais_chains: int = 100,
    metrics: Sequence[Any] = (),
    plots: bool = False,
    out_of_distribution: Any = None,
    quiet: bool = True,
) -> dict[str, Estimate]:
    """Every estimate that the model's capabilities allow, by name, `{"value": ..., "standard_error": ...}` in nats.
    They and the settings are written to evaluation.json in the run, where it can be written; beside it, of a model with
    a likelihood, log p(x) of each example (`Run.log_likelihoods`).

    In a process group of `torch.distributed` each process takes a share of the examples, all give the same estimates,
    and the first one alone writes.

    Args:
        run: a run, or its folder.
        split: "train", "validation" or "test".
        samples: importance samples for each example.
        ais_steps, ais_chains: of annealed importance sampling, where an energy model needs it.
        metrics: further metrics: names, mappings with `use`, or `Metric` objects. Where none is named and the model has
            no likelihood, those that plugins choose for it (`variata_default_metrics`).
        plots: leave pictures in the run as well, as `variata evaluate` does.
        out_of_distribution: data that the model was not trained on, whose likelihoods a picture shows beside those of
            the split: a name, a mapping with `use`, or a `Data` object of the same shape and kind of values.

    Raises:
        ConfigError: an option is at fault, or the other data is not like the model's.
        DataError: the split is empty, or the data cannot be read.
        Unsupported: the model cannot do what a metric needs, or nothing that could be evaluated.
    """
    run = run if isinstance(run, Run) else load(run)
    named = [metric for metric in metrics if not isinstance(metric, Metric)]
    plain = {"split": split, "samples": samples, "seed": seed, "batch_size": batch_size}
    plain |= {"ais_steps": ais_steps, "ais_chains": ais_chains, "plots": plots}
    if not isinstance(out_of_distribution, Data):
        plain["out_of_distribution"] = out_of_distribution
    options = evaluation_options(plain | {"metrics": named})
    built, other = iter(options.pop("metrics")), options.pop("out_of_distribution") or out_of_distribution
    chosen = [metric if isinstance(metric, Metric) else next(built) for metric in metrics]
    plots = options.pop("plots")
    settings = EvaluationSettings(**options)
    if other is not None:
        _check_like(other, run)
    if not chosen and not has_likelihood(run.model):
        chosen = _default_metrics(run, settings)
    examples, first = run.data.split(split), world().first
    with Reporter(f"evaluate {split}", len(examples), quiet or not first) as reporter:
        estimates: dict[str, Estimate] = {}
        each = None
        if has_estimates(run.model) or not chosen:  # without any, metrics may still say something
            progress = reporter.stage("examples", len(examples))
            found = evaluated(run.model, examples, settings, progress, reporter.stage)
            estimates, each = found.estimates, found.log_likelihoods
        estimates |= measure(run.model, run.data, chosen, settings)
        if first:
            _write_evaluation(run, settings, chosen, len(examples), estimates, each)
            context = EvaluationContext(run.path, run.model, run.data, other, settings, estimates, plots=plots)
            with alone():
                registry().notify("variata_evaluated", context)
            for picture in context.pictures:
                reporter.line(f"  {picture}")
    return estimates


def _default_metrics(run: Run, settings: EvaluationSettings) -> list[Metric]:
    """What plugins know to say of a model without a likelihood."""
    context = MetricsContext(run.model, run.data, settings)
    named = [metric for metrics in registry().notify("variata_default_metrics", context) for metric in metrics or ()]
    return evaluation_options({"metrics": named})["metrics"]


def _check_like(other: Data, run: Run) -> None:
    """Refuses data whose likelihoods cannot stand beside those of a run's."""
    own, spec = run.model.spec, other.spec
    alike = ("shape", "support", "levels", "columns", "vocabulary")
    if any(getattr(own, name) != getattr(spec, name) for name in alike):
        mine, others = (f"{list(s.shape)}, {s.describe()}" for s in (own, spec))
        message = f"this data is {others}, and the model's is {mine}: choose data of the same form"
        raise ConfigError(Problem(message, "out_of_distribution"))
    if run.model.conditional and own.condition_shape != spec.condition_shape:
        message = "this data has no condition of the form that the model needs: choose data with the same classes"
        raise ConfigError(Problem(message, "out_of_distribution"))


def _write_evaluation(
    run: Run,
    settings: EvaluationSettings,
    metrics: Sequence[Metric],
    examples: int,
    estimates: dict[str, Estimate],
    each: Tensor | None,
) -> None:
    versions = {"variata": __version__, "torch": torch.__version__}
    described = asdict(settings) | {"examples": examples, "metrics": [type(metric).__name__ for metric in metrics]}
    try:
        write_log_likelihoods(run.path, each)
        write_json(run.path / "evaluation.json", {"settings": described, "versions": versions, "metrics": estimates})
    except RunError as error:
        warnings.warn(f"{error}; the estimates are not kept there", VariataWarning, stacklevel=3)


__all__ = [
    "Assembly",
    "Run",
    "build",
    "build_data",
    "evaluate",
    "evaluation_options",
    "load",
    "prepare",
    "train",
    "train_assembly",
]
