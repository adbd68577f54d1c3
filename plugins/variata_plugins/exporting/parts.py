"""What of a model is exported: functions of tensors without randomness, each with examples that it is traced and
checked with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from variata import Autoencoder, Classifier, ConfigError, DataError, Density, Energy, Problem, Run, Unsupported

PartName = Literal["encoder", "decoder", "all"]
_EXAMPLES = 7


@dataclass
class ExportedPart:
    """A function as a module.

    Attributes:
        function: takes tensors by position.
        inputs: a few examples of each, by name; the first axis of each is the batch.
        outputs: names of what it gives.
    """

    function: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


class _Of(nn.Module):
    """A function of a model's as a module that has the model's weights."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model


class Encoder(_Of):
    """z = encode(x[, y]), the posterior's mean where there is a posterior."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.model.encode(x, y)


class Decoder(_Of):
    """decode(z[, y]), the mean of p(x | z) where there is one."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.model.decode(z, y)


class EncoderAndDecoder(_Of):
    """z = encode(x[, y]) and decode(z[, y])."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = self.model.encode(x, y)
        return z, self.model.decode(z, y)


class LogProbability(_Of):
    """log p(x[ | y]), nats."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.model.log_prob(x, y)


class ClassLogProbabilities(_Of):
    """log p(y | x), `[batch, classes]`."""

    def forward(self, x: Tensor) -> Tensor:
        return self.model.classify(x)


class FreeEnergy(_Of):
    """F(x), nats."""

    def forward(self, x: Tensor) -> Tensor:
        return self.model.free_energy(x)


@torch.no_grad()
def exported_part(run: Run, part: str) -> ExportedPart:
    """The named part of a run's model, with examples of the run's test split (or training split, where that is empty).

    Raises:
        ConfigError: there is no part of that name.
        Unsupported: the model has no such part.
        DataError: the run's data cannot be read, or has no examples.
    """
    model = run.model
    if part not in get_args(PartName):
        raise ConfigError(Problem(f"is one of {', '.join(get_args(PartName))} (got {part!r})", "--part"))
    x, y = _examples(run)
    given = {"x": x} | ({} if y is None or not model.conditional else {"y": y})
    if isinstance(model, Autoencoder):
        if part == "all":
            return ExportedPart(EncoderAndDecoder(model), given, ("z", "reconstruction"))
        if part == "encoder":
            return ExportedPart(Encoder(model), given, ("z",))
        codes = model.encode(x, given.get("y"))
        return ExportedPart(Decoder(model), {"z": codes} | {k: v for k, v in given.items() if k == "y"}, ("x",))
    if part != "all":
        raise Unsupported(f"{type(model).__name__} has no {part}: it cannot encode (try --part all)")
    if isinstance(model, Classifier):
        return ExportedPart(ClassLogProbabilities(model), {"x": x}, ("log_probabilities",))
    if isinstance(model, Density):
        return ExportedPart(LogProbability(model), given, ("log_probability",))
    if isinstance(model, Energy):
        return ExportedPart(FreeEnergy(model), {"x": x}, ("free_energy",))
    raise Unsupported(f"{type(model).__name__} has neither codes, nor a density, an energy or classes of an x")


def _examples(run: Run) -> tuple[Tensor, Tensor | None]:
    for name in ("test", "train"):
        split = run.data.split(name)
        if len(split):
            batch = split.batch(torch.arange(min(_EXAMPLES, len(split))))
            return batch.x, batch.y
    raise DataError(f"{run.path}: the run's data has no examples to trace the model with")
