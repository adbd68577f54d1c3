r"""A figure with what belongs to it: its standard error, what it bounds, and what it is a density of.

Two errors are kept apart. `standard_error` is that of the mean over examples: how far another test set of this size
would lie. `monte_carlo_error` is that of the estimate on these very examples: how far another seed would lie.

    bits per dimension = NLL / (D ln 2) - log2(width of a level),

where the width is 1 for probabilities of levels and (high - low) / levels for densities of dequantised ones: eight
bits more than the density says, for 256 levels in [0, 1] (Theis, van den Oord and Bethge, 2016, A note on the
evaluation of generative models, arXiv:1511.01844).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor

from .data import DataSpec, Seed, SplitName
from .processes import world
from .sequences import Sequences
from .shares import gather

Estimate = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How an evaluation is done.

    Attributes:
        split: "train", "validation" or "test".
        samples: importance samples for each example.
        seed: of every draw.
        batch_size: examples at a time.
        ais_steps: temperatures of annealed importance sampling, where an energy model needs it.
        ais_chains: its chains.
    """

    split: SplitName = "test"
    samples: PositiveInt = 500
    seed: Seed = 0
    batch_size: PositiveInt = 256
    ais_steps: PositiveInt = 5000
    ais_chains: PositiveInt = 100


def estimate(values: Tensor, variance: Tensor | None = None, **notes: Any) -> Estimate:
    """The mean of one value for each example, with its errors.

    Args:
        values: `[examples]`.
        variance: `[examples]`, of each value as an estimate.
        notes: what else belongs to the figure: `kind` ("exact", "upper_bound", "lower_bound", "biased"), `measure`, ...
    """
    n, values = len(values), values.double()
    error = float(values.std() / math.sqrt(n)) if n > 1 else None
    figure: Estimate = {"value": float(values.mean()), "standard_error": error}
    if variance is not None and variance.isfinite().all():
        figure["monte_carlo_error"] = float(variance.double().sum().sqrt() / n)
    return figure | {"examples": n} | notes


def measure_of(spec: DataSpec) -> str:
    """What likelihoods of this data are densities of, in words."""
    return f"{'lebesgue and counting' if spec.measure == 'mixed' else spec.measure}, {spec.transform}"


def bits_per_dimension(nll: Estimate, spec: DataSpec) -> dict[str, Estimate]:
    """The same figure in bits per dimension, where the data has levels, or had them before it was dequantised, and no
    element is missing. Strings are measured by their tokens (`per_token`)."""
    if spec.levels is None or spec.missing or spec.support == "tokens":
        return {}
    width = (spec.high - spec.low) / spec.levels if spec.measure == "lebesgue" else 1.0
    scale = 1 / (spec.dimensions * math.log(2))
    errors = {key: nll[key] and nll[key] * scale for key in ("standard_error", "monte_carlo_error") if key in nll}
    return {"bits_per_dim": nll | {"value": nll["value"] * scale - math.log2(width)} | errors}


def tokens_of(x: Tensor, spec: DataSpec) -> Tensor:
    """How many tokens each example has, the end counted, `[examples]`; none where examples are no strings."""
    return Sequences(x).lengths.double() if spec.support == "tokens" else x.new_zeros(len(x), dtype=torch.float64)


def per_token(nll: Tensor, tokens: Tensor, spec: DataSpec, **notes: Any) -> dict[str, Estimate]:
    """Of strings, nats for each token, r = sum NLL / sum tokens, the perplexity exp(r), and, where tokens are
    characters, the bits for each of them; the end counts as one. Standard errors by the delta method.

    Args:
        nll, tokens: of each string, `[examples]`.
        notes: as for `estimate`.
    """
    if spec.support != "tokens":
        return {}
    n, rate = len(nll), float(nll.sum() / tokens.sum())
    spread = float((nll - rate * tokens).square().sum() / max(n - 1, 1))
    error = math.sqrt(spread / n) / float(tokens.mean()) if n > 1 else None
    notes = {"examples": n, "tokens": int(tokens.sum())} | notes

    def scaled(value: float, by: float) -> Estimate:
        return {"value": value, "standard_error": None if error is None else error * by} | notes

    found = {"nll_per_token": scaled(rate, 1.0), "perplexity": scaled(math.exp(rate), math.exp(rate))}
    if spec.vocabulary is not None and spec.vocabulary.kind == "characters":
        found["bits_per_character"] = scaled(rate / math.log(2), 1 / math.log(2))
    return found


class Columns:
    """Values of each example by name, kept a batch at a time."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, name: str, rows: Tensor) -> None:
        """`[examples, *any]`."""
        self._parts.setdefault(name, []).append(rows.cpu())

    def count(self, name: str) -> int:
        """How many rows there are of it here."""
        return sum(map(len, self._parts.get(name, ())))

    def gathered(self) -> dict[str, Tensor]:
        """All of them, of every process, in the order of the examples."""
        return gather({name: torch.cat(parts) for name, parts in self._parts.items()})


class Moments:
    """Mean and variance over examples, a batch at a time (Chan, Golub and LeVeque, 1983)."""

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """`[examples, *any]`."""
        rows = rows.double()
        mean = rows.mean(0)
        self._merge(len(rows), mean, (rows - mean).square().sum(0))

    def _merge(self, count: int, mean: Tensor, squares: Tensor) -> None:
        step, total = mean - self.mean, self.count + count
        self._squares = self._squares + squares + step.square() * self.count * count / total
        self.mean, self.count = self.mean + step * count / total, total

    def gathered(self) -> Moments:
        """Of the examples that all processes have seen."""
        if world().size == 1:
            return self
        own = {"count": torch.tensor([self.count]), "mean": self.mean[None], "squares": self._squares[None]}
        found, whole = gather(own if self.count else {}), Moments()
        for count, mean, squares in zip(*found.values(), strict=True):
            whole._merge(int(count), mean, squares)
        return whole

    @property
    def variance(self) -> Tensor:
        """Of the examples seen: the sum of squares over their number."""
        return self._squares / self.count

    @property
    def standard_error(self) -> Tensor:
        """Of the mean."""
        return (self._squares / max(self.count - 1, 1) / self.count).sqrt()
