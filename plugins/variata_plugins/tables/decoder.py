r"""p(x | z) of a row: for each column a law of its kind (`law.py`), whose parameters one network gives.

    numeric       mu;  s^2 = exp(l) + floor^2
    categorical   a logit for each level, plus the logarithm of how often training had it
    count         log m, plus the logarithm of the training mean;  log r

l and log r are one number for each column (Mattei and Frellsen, 2018, arXiv:1802.04826, on what becomes of a likelihood
whose scales are free), or the network's for each row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, NegativeBinomial, Normal, Poisson

from variata import (
    Batch,
    Column,
    ConfigError,
    DataSpec,
    Decoder,
    Factory,
    Network,
    Prepares,
    Problem,
    Shape,
    default,
    make,
)

from .law import Kindred, RowLaw

_LOG_MEAN, _LOG_SIZE, _LOG_VARIANCE = 20.0, 10.0, 30.0
"""Bounds of log m, |log r| and |l|, within which densities and gradients are finite."""


class TableDecoder(Decoder, Prepares):
    """Independent columns, each of its own kind; what is missing is left out.

    Args:
        data, latent, condition: sizes, from the model.
        scale: "per_column" learns a scale for each numeric column, and a dispersion for each count; "per_output" lets
            the network give them for each row.
        floor: the least scale, in standard deviations of the column.
        counts: the law of counts.
        network: gives everything else.

    Raises:
        ConfigError: the data is no table.
    """

    models = ("mixed", "real", "binary")
    leaves_out = True
    offset: Tensor
    numeric: Tensor
    categorical: Tensor
    count: Tensor
    level: Tensor

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        scale: Literal["per_column", "per_output"] = "per_column",
        floor: PositiveFloat = 0.01,
        counts: Literal["negative_binomial", "poisson"] = "negative_binomial",
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__(data)
        columns = _columns(data)
        self.free, self.log_floor, self.poisson = scale == "per_output", 2 * math.log(floor), counts == "poisson"
        for kind in ("numeric", "categorical", "count"):
            places = torch.tensor([i for i, column in enumerate(columns) if column.kind == kind], dtype=torch.long)
            self.register_buffer(kind, places, persistent=False)
        levels = [len(column.levels) for column in columns if column.kind == "categorical"]
        self.register_buffer("level", _places_of_levels(levels), persistent=False)
        n, c = len(self.numeric), len(self.count)
        self.sizes = [n, sum(levels), c, n * self.free, c * self.free * (not self.poisson)]
        self.network = make(network, input=(latent,), output=(sum(self.sizes),), condition=condition)
        self.logvar = nn.Parameter(torch.zeros(n)) if n and not self.free else None
        self.log_size = nn.Parameter(torch.zeros(c)) if c and not (self.free or self.poisson) else None
        self.register_buffer("offset", torch.zeros(sum(levels) + c))

    def forward(self, z: Tensor, y: Tensor | None = None) -> RowLaw:
        mu, logits, log_mean, logvar, log_size = self.network(z, y).split(self.sizes, dim=-1)
        parts = []
        if len(self.numeric):
            logvar = logvar if self.logvar is None else self.logvar.expand_as(mu)
            logvar = logvar.clamp(-_LOG_VARIANCE, _LOG_VARIANCE)
            scale = (0.5 * torch.logaddexp(logvar, torch.full_like(logvar, self.log_floor))).exp()
            parts.append(Kindred(self.numeric, Normal(mu, scale, validate_args=False)))
        of_levels, of_counts = self.offset.split(self.sizes[1:3])
        if len(self.categorical):
            logits = (logits + of_levels)[..., self.level.clamp(min=0)].masked_fill(self.level < 0, -math.inf)
            parts.append(Kindred(self.categorical, Categorical(logits=logits, validate_args=False)))
        if len(self.count):
            log_mean = (log_mean + of_counts).clamp(-_LOG_MEAN, _LOG_MEAN)
            log_size = log_size if self.log_size is None else self.log_size.expand_as(log_mean)
            parts.append(Kindred(self.count, self._law_of_counts(log_mean, log_size)))
        return RowLaw(parts, mu.dtype)

    def _law_of_counts(self, log_mean: Tensor, log_size: Tensor) -> Distribution:
        if self.poisson:
            return Poisson(log_mean.exp(), validate_args=False)
        log_size = log_size.clamp(-_LOG_SIZE, _LOG_SIZE)
        return negative_binomial(log_mean, log_size)

    @torch.no_grad()
    def prepare(self, stream: Iterable[Batch]) -> None:
        """The logarithms of (n_l + 1) / (n + L) for each of L levels, and of the mean count, of what is there."""
        found = torch.zeros_like(self.offset, dtype=torch.float64)
        there = torch.zeros_like(found)
        levels = self.sizes[1]
        column = (self.level >= 0).nonzero()  # in the order of the levels
        for batch in stream:
            x = batch.x.double()
            of_levels, of_counts = x[:, self.categorical[column[:, 0]]], x[:, self.count]
            found[:levels] += (of_levels == column[:, 1]).sum(0)
            found[levels:] += of_counts.nan_to_num(0.0).sum(0)
            there += (~torch.cat([of_levels, of_counts], dim=1).isnan()).sum(0)
        width = (self.level >= 0).sum(1).double()[column[:, 0]]
        found[:levels] = (found[:levels] + 1) / (there[:levels] + width)
        found[levels:] = (found[levels:] + 0.5) / (there[levels:] + 1)
        self.offset.copy_(found.log())


def negative_binomial(log_mean: Tensor, log_size: Tensor) -> NegativeBinomial:
    """The law of counts of mean m and variance m + m^2 / r, from log m and log r. In float64: the logarithms of gamma
    functions that it subtracts are large where r is."""
    size = log_size.double().exp()
    return NegativeBinomial(size, logits=log_mean.double() - log_size.double(), validate_args=False)


def _columns(data: DataSpec) -> tuple[Column, ...]:
    """What each element is: of data that does not say it, numbers, or two levels."""
    if data.columns:
        return data.columns
    if len(data.shape) != 1 or data.support == "mixed":
        raise ConfigError(Problem("is for tables, and the data is none: set data.use=table, or use another decoder"))
    levels = ("0", "1") if data.support == "binary" else ()
    return tuple(Column(f"x{i + 1}", "categorical" if levels else "numeric", levels) for i in range(data.shape[0]))


def _places_of_levels(levels: list[int]) -> Tensor:
    """Where the network gives the logit of each level of each column, `[columns, most levels]`; -1 where there is no
    such level."""
    places = torch.full((len(levels), max(levels, default=0)), -1)
    start = 0
    for row, count in enumerate(levels):
        places[row, :count] = torch.arange(start, start + count)
        start += count
    return places
