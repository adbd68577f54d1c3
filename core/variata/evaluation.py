"""One walk over a split, by the estimates that follow from what the model can do: exact where the density is, else
bounds with errors. Each kind of model has its estimates in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .annealing import EnergyEstimates, Stage, silent
from .data import Batch, Data, Split, on_device
from .errors import DataError, Unsupported
from .estimates import Estimate, EvaluationSettings, bits_per_dimension, estimate, measure_of
from .interfaces import Density, Energy, LatentVariable, Metric
from .latent import LatentEstimates


class Estimates(Protocol):
    """What is asked of a kind of model: it sees every batch once, and then says what it found."""

    def batch_size(self, first: Batch, asked: int) -> int: ...

    def add(self, batch: Batch) -> None: ...

    def result(self) -> dict[str, Estimate]: ...


class DensityEstimates:
    """log p(x) of a `Density`, exactly; no estimate stands beside it."""

    def __init__(self, model: Density) -> None:
        self.model = model
        self._values: list[Tensor] = []

    def batch_size(self, first: Batch, asked: int) -> int:
        return asked

    def add(self, batch: Batch) -> None:
        self._values.append(self.model.log_prob(batch.x, batch.y).double().cpu())

    def result(self) -> dict[str, Estimate]:
        values, spec = torch.cat(self._values), self.model.spec
        likelihood, nll = (estimate(v, kind="exact", measure=measure_of(spec)) for v in (values, -values))
        return {"log_likelihood": likelihood, "nll": nll, **bits_per_dimension(nll, spec)}


def has_likelihood(model: Any) -> bool:
    """Whether a likelihood follows from what the model can do, or a bound on it."""
    return isinstance(model, Density | Energy | LatentVariable)


def estimates_of(model: Any, settings: EvaluationSettings, stage: Stage = silent) -> Estimates:
    """The estimates that follow from what a model can do.

    Args:
        stage: as for `evaluate_model`.

    Raises:
        Unsupported: nothing follows.
    """
    if isinstance(model, Density):
        return DensityEstimates(model)
    if isinstance(model, Energy):
        return EnergyEstimates(model, settings, stage)
    if isinstance(model, LatentVariable):
        return LatentEstimates(model, settings.samples, settings.seed)
    raise Unsupported(
        f"{type(model).__name__} has neither a bound nor a density nor an energy, so there is no likelihood to evaluate"
    )


@torch.no_grad()
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
    if not len(split):
        raise DataError("the split has no examples to evaluate")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with in_evaluation_mode(model), torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        estimates = estimates_of(model, settings, stage)
        first = on_device(split.batch(torch.arange(1)), device)
        for batch in split.batches(estimates.batch_size(first, settings.batch_size)):
            estimates.add(on_device(batch, device))
            progress(len(batch))
        return estimates.result()


@torch.no_grad()
def measure(model: Any, data: Data, metrics: Sequence[Metric], settings: EvaluationSettings) -> dict[str, Estimate]:
    """What each of the metrics gives, under the same promises as `evaluate_model`.

    Raises:
        Unsupported: a metric needs something that the model cannot do.
    """
    found: dict[str, Estimate] = {}
    for metric in metrics:
        if not isinstance(model, metric.requires):
            needed, name = metric.requires.__name__, type(metric).__name__
            raise Unsupported(f"{name} needs a model that is a {needed}, and {type(model).__name__} is not")
        with in_evaluation_mode(model), torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            found |= metric.measure(model, data, settings)
    return found


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
