"""How one trained model is measured: what follows from what it can do, and metrics, all by the same settings on the
same examples. Metrics of samples look at one set of draws, so that no model draws twice; a metric that refuses a model
says why, and takes nothing else with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from variata import (
    Autoencoder,
    Classifier,
    ConfigError,
    Data,
    DataError,
    DataSpec,
    Density,
    Energy,
    Estimate,
    EvaluationSettings,
    LatentVariable,
    Metric,
    Problem,
    Run,
    Sampler,
    UserError,
    evaluate,
    evaluation_options,
)
from variata_plugins.metrics.fid import FID
from variata_plugins.metrics.kid import KID
from variata_plugins.metrics.parzen import chosen_by

from .record import Figure, Kind

_BLOCK = 500
_STREAM = 1_000_003  # apart from that of metrics, which may draw more of the same model
_LEAST, _MOST = 1000, 10_000
_KINDS: dict[str, Kind] = {"exact": "=", "upper_bound": "<=", "lower_bound": ">=", "biased": "~"}
COINS = "its grey samples are drawn as black or white, x ~ Bernoulli(x'), as the data was"


@dataclass(frozen=True)
class Settings:
    """What `--evaluate` says, with metrics as YAML writes them; None for those that suit the data."""

    options: EvaluationSettings
    metrics: tuple[Metric, ...] | None


def settings_of(texts: Sequence[str]) -> Settings:
    """Raises:
    ConfigError: an unknown option, or a value of the wrong type.
    """
    options = evaluation_options(texts)
    for name in ("plots", "out_of_distribution"):
        options.pop(name)
    metrics = options.pop("metrics")
    named = any(text.partition("=")[0].strip() == "metrics" for text in texts)
    return Settings(EvaluationSettings(**options), tuple(metrics) if named else None)


def default_metrics(data: Data, split: str) -> list[Metric]:
    """Of samples: their statistics, the distance to training examples, Parzen windows, and distances of features (of a
    network that knows the classes, where these are images with labels); of autoencoders, what comes back."""
    images = data.spec.is_image and data.spec.classes is not None
    if not data.spec.regular:
        return []
    many = {"samples": pool_size(data, split)}
    extractor = {"extractor": "lenet" if images else "pca" if data.spec.dimensions > 50 else "pixels"}
    chosen: list[Any] = [{"use": "sample_statistics", **many}]
    chosen += [{"use": "nearest_training", **many}] if split != "train" else []
    chosen += [{"use": "parzen", **many}] if split != chosen_by(data) else []
    equal = {"samples": len(data.split(split))}  # pyright: ignore[reportArgumentType]
    if equal["samples"] > 10:
        chosen += [{"use": name, **extractor, **equal} for name in ("fid", "kid", "prdc")]
    chosen += ["reconstruction_error"]
    return evaluation_options({"metrics": chosen})["metrics"]


def pool_size(data: Data, split: str) -> int:
    """How many samples are drawn of each model: as many as the split has examples, between 1,000 and 10,000."""
    return min(max(_LEAST, len(data.split(split))), _MOST)  # pyright: ignore[reportArgumentType]


def check_counts(metrics: Sequence[Metric], data: Data, split: str) -> None:
    """Distances between two sets depend on how many each has.

    Raises:
        ConfigError: as many samples are not asked for as the split has examples.
        DataError: it has none.
    """
    examples = len(data.split(split))  # pyright: ignore[reportArgumentType]
    if not examples:
        raise DataError(
            f"the split {split} has no examples to compare models on: choose another (--evaluate split=test)"
        )
    problems = []
    for metric in metrics:
        if isinstance(metric, FID | KID) and metric.samples != examples:
            name = type(metric).__name__
            message = f"{name} would hold {metric.samples} samples against {examples} {split} examples, and its value "
            problems.append(
                Problem(f"{message}depends on both counts: set its samples={examples}", "--evaluate metrics")
            )
    if problems:
        raise ConfigError(problems)


class Drawn(Sampler):
    """Samples of a model that were drawn already, in the form that the data has. They are given one after the other,
    from the first again after `again`.

    Args:
        model: draws more, where more are asked for.
        spec: of the data that samples are held against.
        first: samples of the model.
    """

    def __init__(self, model: Sampler, spec: DataSpec, first: Tensor) -> None:
        super().__init__(spec)
        self.model = model
        self.x, self.given = self._seen(first), 0

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        if condition is not None:
            return self._seen(self.model.sample(n, condition))
        start, self.given = self.given, self.given + n
        while len(self.x) < self.given:
            self.x = torch.cat([self.x, self._seen(self.model.sample(min(_BLOCK, self.given - len(self.x))).cpu())])
        return self.x[start : self.given]

    def again(self) -> Drawn:
        """The same, from the first sample on."""
        self.given = 0
        return self

    def _seen(self, x: Tensor) -> Tensor:
        own = self.model.spec
        if not drawn_by_coins(own, self.spec):
            return x
        grey = ((x - own.low) / (own.high - own.low)).clamp(0, 1)
        return (grey >= 0.5).to(x.dtype) if "threshold" in self.spec.transform else torch.bernoulli(grey)


def drawn_by_coins(own: DataSpec, spec: DataSpec) -> bool:
    """Whether grey samples are to be made black and white, as the data was."""
    return spec.support == "binary" and own.support in ("levels", "interval") and own.shape == spec.shape


class _Held(Metric):
    """A metric that is asked of the draws where it is one of samples, and that keeps its refusal to itself."""

    tables = True

    def __init__(self, metric: Metric, drawn: Drawn | None, data: Data) -> None:
        self.metric, self.drawn, self.data, self.refusal = metric, drawn, data, ""

    def measure(self, model: Any, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        needed = self.metric.requires
        try:
            if not isinstance(model, needed):
                self.refusal = _LACKS.get(needed.__name__, f"is no {needed.__name__}")
                return {}
            if not (data.spec.regular or self.metric.tables):
                self.refusal = f"compares numbers of one kind, none missing, and the data is {data.spec.describe()}"
                return {}
            if needed is Sampler and self.drawn is not None:
                found = self.metric.measure(self.drawn.again(), self.data, settings)
                coins = drawn_by_coins(model.spec, self.data.spec)
                return {name: figure | _with_note(figure, COINS) for name, figure in found.items()} if coins else found
            return self.metric.measure(model, data, settings)
        except UserError as error:
            self.refusal = "; ".join(problem.message for problem in error.problems)
        except Exception as error:  # somebody's metric: the other figures are not to be lost by it
            self.refusal = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {}


_LACKS = {"Sampler": "does not sample", "Autoencoder": "has no codes", "LatentVariable": "has no posterior q(z | x)"}


def _with_note(figure: Mapping[str, Any], note: str) -> dict[str, Any]:
    return {"note": f"{figure['note']}; {note}" if figure.get("note") else note}


@dataclass(frozen=True)
class Measured:
    """What was found of one run. `sampling`: seconds for 1,000 samples; `refused`: why, by the name of a metric."""

    figures: list[Figure]
    refused: dict[str, str]
    sampling: float | None
    samples: Tensor | None


@torch.no_grad()
def measured(run: Run, name: str, seed: int, data: Data, settings: Settings, view: str) -> Measured:
    """Every figure of a run.

    Args:
        data: the common view; the run's own where its samples cannot be held against that.
        view: of the run's own data, in a word.
    """
    model, options = run.model, settings.options
    metrics = settings.metrics if settings.metrics is not None else default_metrics(data, options.split)
    with torch.random.fork_rng():
        torch.manual_seed((options.seed + _STREAM) % 2**32)
        samples, sampling = _samples(model, pool_size(data, options.split))
        drawn = None if samples is None else Drawn(model, data.spec, samples).eval()
    held = [_Held(metric, drawn, data) for metric in metrics]
    estimates: dict[str, Estimate] = {}
    if held or isinstance(model, Density | Energy | LatentVariable | Classifier):  # else there is nothing to ask
        estimates = evaluate(
            run,
            split=options.split,
            samples=options.samples,
            seed=options.seed,
            batch_size=options.batch_size,
            ais_steps=options.ais_steps,
            ais_chains=options.ais_chains,
            metrics=held,
        )
    figures = [
        _figure(name, seed, metric, found, model, view, data, run.data, options)
        for metric, found in estimates.items()
        if isinstance(found.get("value"), int | float)
    ]
    refused = {_label(one.metric): one.refusal for one in held if one.refusal}
    return Measured(figures, refused, sampling, samples)


def _samples(model: Any, n: int) -> tuple[Tensor | None, float | None]:
    """n samples, and the seconds that the first 1,000 took."""
    if not isinstance(model, Sampler):
        return None, None
    try:
        model.sample(1)  # what is done once is not counted
        start = time.perf_counter()
        parts = [model.sample(min(_LEAST, n)).cpu()]
        seconds = (time.perf_counter() - start) * _LEAST / len(parts[0])
    except UserError:
        return None, None
    while sum(map(len, parts)) < n:
        parts.append(model.sample(min(_LEAST, n - sum(map(len, parts)))).cpu())
    return torch.cat(parts), seconds


def _figure(
    name: str,
    seed: int,
    metric: str,
    found: Estimate,
    model: Any,
    view: str,
    data: Data,
    own: Data,
    options: EvaluationSettings,
) -> Figure:
    kind = _KINDS.get(str(found.get("kind")), "")
    measure = str(found.get("measure", ""))
    samples = found.get("samples")
    if measure and metric != "parzen":
        of = "p(x | y)" if model.conditional else "p(x)"
        group = f"{of}; {measure}"
    elif "draws" in found:
        seen = own.spec if data is own else data.spec
        counts = [f"{samples} samples", f"{found['examples']} {options.split} examples"] if "examples" in found else []
        group = ", ".join([seen.describe(), *counts])
    else:
        told = isinstance(model, Autoencoder) and model.conditional and metric.startswith("reconstruction")
        group = f"{view}, told y" if told else view
    value = float(found["value"])
    return Figure(
        model=name,
        seed=seed,
        metric=metric,
        value=value if math.isfinite(value) else None,
        absent="" if math.isfinite(value) else "not finite",
        standard_error=found.get("standard_error"),
        monte_carlo_error=found.get("monte_carlo_error"),
        kind=kind,
        unit=unit_of(metric, bool(measure)),
        group=group,
        measure=measure,
        examples=found.get("examples"),
        samples=samples,
        split=options.split,
        note=str(found.get("note", "")),
    )


def unit_of(metric: str, likelihood: bool) -> str:
    """Of a figure, where its name says one."""
    if metric == "bits_per_dim":
        return "bits"
    if metric == "reconstruction_psnr":
        return "dB"
    nats = ("nll", "elbo", "kl", "gap", "log_likelihood", "log_partition", "cross_entropy", "parzen", "annealing_gap")
    return "nats" if likelihood or metric in (*nats, "mutual_information", "aggregate_kl") else ""


def _label(metric: Metric) -> str:
    """The figure that a metric is known by."""
    extractor = getattr(getattr(metric, "extractor", None), "name", "")
    plain = {
        "FID": "fid",
        "KID": "kid",
        "PRDC": "precision",
        "SampleStatistics": "sample_mean_distance",
        "NearestTraining": "nearest_training_ratio",
        "Parzen": "parzen",
        "ReconstructionError": "reconstruction_mse",
    }.get(type(metric).__name__, type(metric).__name__)
    return f"{plain}[{extractor}]" if extractor else plain
