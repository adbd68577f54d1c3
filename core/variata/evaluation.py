"""One walk over a split, by the estimates that follow from what the model can do: exact where the density is, else
bounds with errors. Each kind of model has its estimates in a file of its own. Of several processes each takes a share
of the examples, and all of them come to the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from .annealing import EnergyEstimates, Stage, silent
from .data import Batch, Data, Split, on_device
from .errors import DataError, Unsupported
from .estimates import (
    Columns,
    Estimate,
    EvaluationSettings,
    bits_per_dimension,
    estimate,
    measure_of,
    per_token,
    tokens_of,
)
from .interfaces import Classifier, Density, Energy, LatentVariable, Metric, ability_to_read
from .latent import LatentEstimates
from .processes import world
from .shares import own_rows

T = TypeVar("T")


class Estimates(Protocol):
    """What is asked of a kind of model: it sees every batch of this process's share once, and then says what all
    processes found."""

    def batch_size(self, first: Batch, asked: int) -> int: ...

    def add(self, batch: Batch) -> None: ...

    def log_likelihoods(self) -> Tensor: ...

    def result(self) -> dict[str, Estimate]: ...


class DensityEstimates:
    """log p(x) of a `Density`, exactly; no estimate stands beside it."""

    def __init__(self, model: Density) -> None:
        self.model = model
        self._columns = Columns()

    def batch_size(self, first: Batch, asked: int) -> int:
        return asked

    def add(self, batch: Batch) -> None:
        self._columns.add("log_prob", self.model.log_prob(batch.x, batch.y).double())
        self._columns.add("tokens", tokens_of(batch.x, self.model.spec))

    def log_likelihoods(self) -> Tensor:
        return self._columns.gathered()["log_prob"]

    def result(self) -> dict[str, Estimate]:
        values, spec = self.log_likelihoods(), self.model.spec
        likelihood, nll = (estimate(v, kind="exact", measure=measure_of(spec)) for v in (values, -values))
        tokens = self._columns.gathered()["tokens"]
        rates = bits_per_dimension(nll, spec) | per_token(-values, tokens, spec, kind="exact")
        return {"log_likelihood": likelihood, "nll": nll, **rates}


class ClassEstimates:
    """How often a `Classifier` is right, and -log p(y | x), of the examples whose label is known.

    Raises:
        Unsupported: the data has no classes.
    """

    def __init__(self, model: Classifier) -> None:
        if model.spec.classes is None:
            raise Unsupported("a classifier is held against labels, and this data has none")
        self.model = model
        self._columns = Columns()

    def batch_size(self, first: Batch, asked: int) -> int:
        return asked

    def add(self, batch: Batch) -> None:
        known = batch.labelled_part()
        assert known.y is not None
        log_p = self.model.classify(known.x).double()
        self._columns.add("right", (log_p.argmax(-1) == known.y).double())
        self._columns.add("log_p", log_p.gather(1, known.y.long()[:, None])[:, 0])

    def log_likelihoods(self) -> Tensor:
        raise Unsupported(f"{type(self.model).__name__} tells classes, and has no likelihood of x")

    def result(self) -> dict[str, Estimate]:
        columns = self._columns.gathered()
        if not len(columns["right"]):
            raise DataError("none of the examples is labelled, so there is nothing to hold a classifier against")
        figures = {"accuracy": columns["right"], "error": 1 - columns["right"], "cross_entropy": -columns["log_p"]}
        return {name: estimate(values) for name, values in figures.items()}


class SeveralEstimates:
    """Those of a model that can do several things; its likelihoods are those of the first."""

    def __init__(self, parts: Sequence[Estimates]) -> None:
        self.parts = parts

    def batch_size(self, first: Batch, asked: int) -> int:
        return min(part.batch_size(first, asked) for part in self.parts)

    def add(self, batch: Batch) -> None:
        for part in self.parts:
            part.add(batch)

    def log_likelihoods(self) -> Tensor:
        return self.parts[0].log_likelihoods()

    def result(self) -> dict[str, Estimate]:
        return {name: found for part in self.parts for name, found in part.result().items()}


def has_likelihood(model: Any) -> bool:
    """Whether a likelihood follows from what the model can do, or a bound on it."""
    return isinstance(model, Density | Energy | LatentVariable)


def has_estimates(model: Any) -> bool:
    """Whether figures follow from what the model can do, without a metric."""
    return has_likelihood(model) or isinstance(model, Classifier)


def estimates_of(model: Any, settings: EvaluationSettings, stage: Stage = silent) -> Estimates:
    """The estimates that follow from what a model can do.

    Args:
        stage: as for `evaluate_model`.

    Raises:
        Unsupported: nothing follows.
    """
    found: list[Estimates] = []
    if isinstance(model, Density):
        found.append(DensityEstimates(model))
    elif isinstance(model, Energy):
        found.append(EnergyEstimates(model, settings, stage))
    elif isinstance(model, LatentVariable):
        found.append(LatentEstimates(model, settings.samples, settings.seed))
    if isinstance(model, Classifier):
        found.append(ClassEstimates(model))
    if not found:
        raise Unsupported(
            f"{type(model).__name__} has neither a bound nor a density nor an energy, so there is no likelihood to "
            "evaluate, and no plugin measures such a model by itself: name metrics, metrics=[NAME] "
            "(`variata list metric`)"
        )
    return found[0] if len(found) == 1 else SeveralEstimates(found)


def evaluate_model(
    model: Any,
    split: Split,
    settings: EvaluationSettings,
    progress: Callable[[int], None] = lambda done: None,
    stage: Stage = silent,
) -> dict[str, Estimate]:
    """Every estimate that follows from what the model can do, by name: `{"value": ..., "standard_error": ...}`.

    The model and torch's generator are left as they were; the same seed gives the same numbers, whatever the batch
    size.

    Args:
        progress: called with the number of examples done.
        stage: called with the title and the size of work that comes before the examples; gives what is called with
            the number of its steps done.

    Raises:
        DataError: the split is empty.
        Unsupported: the model offers nothing that can be evaluated here.
    """
    return evaluated(model, split, settings, progress, stage).estimates


@dataclass(frozen=True)
class Evaluated:
    """What a walk over a split found.

    Attributes:
        estimates: by name, as of `evaluate_model`.
        log_likelihoods: log p(x) of each example, as of `log_likelihoods`; None where the model has none.
    """

    estimates: dict[str, Estimate]
    log_likelihoods: Tensor | None


def evaluated(
    model: Any,
    split: Split,
    settings: EvaluationSettings,
    progress: Callable[[int], None] = lambda done: None,
    stage: Stage = silent,
) -> Evaluated:
    """As `evaluate_model`, with what the likelihood is a mean of."""

    def read(estimates: Estimates) -> Evaluated:
        return Evaluated(estimates.result(), estimates.log_likelihoods() if has_likelihood(model) else None)

    return _walked(model, split, settings, progress, stage, read)


def log_likelihoods(model: Any, split: Split, settings: EvaluationSettings) -> Tensor:
    """log p(x) of each example, `[examples]` in float64: exactly, or the estimate that `evaluate_model` rests on.

    Raises:
        DataError: the split is empty.
        Unsupported: the model has no likelihood.
    """
    return _walked(model, split, settings, lambda done: None, silent, lambda estimates: estimates.log_likelihoods())


@torch.no_grad()
def _walked(
    model: Any,
    split: Split,
    settings: EvaluationSettings,
    progress: Callable[[int], None],
    stage: Stage,
    read: Callable[[Estimates], T],
) -> T:
    if not len(split):
        raise DataError("the split has no examples to evaluate")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with in_evaluation_mode(model), torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        estimates = estimates_of(model, settings, stage)
        first = on_device(split.batch(torch.arange(1)), device)
        asked = min(settings.batch_size, -(-len(split) // world().size))
        size = estimates.batch_size(first, asked)
        own, row = own_rows(len(split), size), 0
        for batch in split.batches(size):  # every process reads all, so that what a split draws is the same on each
            if row in own:
                estimates.add(on_device(batch, device))
            row += len(batch)
            progress(len(batch))
        return read(estimates)


@torch.no_grad()
def measure(model: Any, data: Data, metrics: Sequence[Metric], settings: EvaluationSettings) -> dict[str, Estimate]:
    """What each of the metrics gives, under the same promises as `evaluate_model`.

    Raises:
        Unsupported: a metric needs something that the model cannot do, or data of another form.
    """
    found: dict[str, Estimate] = {}
    for metric in metrics:
        if not isinstance(model, metric.requires):
            needed, name = metric.requires.__name__, type(metric).__name__
            raise Unsupported(f"{name} needs a model that is a {needed}, and {type(model).__name__} is not")
        if not (data.spec.regular or getattr(metric, ability_to_read(data.spec))):
            what = f"{type(metric).__name__} compares numbers of one kind, none missing"
            raise Unsupported(f"{what}, and the data is {data.spec.describe()}")
        with in_evaluation_mode(model), torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            found |= metric.measure(model, data, settings)
    return found


@dataclass(frozen=True)
class MetricsContext:
    """What the hook `variata_default_metrics` is given."""

    model: Any
    data: Data
    settings: EvaluationSettings


@dataclass(frozen=True)
class EvaluationContext:
    """What the hook `variata_evaluated` is given.

    Attributes:
        path: the folder of the run.
        model: in evaluation mode.
        other: data that the model was not trained on, to compare likelihoods with; None where none was named.
        estimates: by name, as they are returned.
        pictures: where listeners say which files they left.
        plots: whether pictures are asked for.
    """

    path: Path
    model: Any
    data: Data
    other: Data | None
    settings: EvaluationSettings
    estimates: dict[str, Estimate]
    pictures: list[Path] = field(default_factory=list)
    plots: bool = True


@contextmanager
def in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and afterwards in the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
