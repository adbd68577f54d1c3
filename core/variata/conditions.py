"""Conditions y of a model: how often each label occurs, and what may be asked for."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .data import Batch
from .errors import ConfigError, NotPrepared, Problem
from .interfaces import Prepares


class LabelFrequencies(nn.Module, Prepares):
    """How often each class occurred in training; a conditional model draws its conditions from it."""

    counts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.int64))

    def prepare(self, stream: Iterable[Batch]) -> None:
        self.counts.zero_()
        for batch in stream:
            assert batch.y is not None
            self.counts += torch.bincount(batch.y.cpu(), minlength=len(self.counts)).to(self.counts.device)

    def draw(self, n: int) -> Tensor:
        """n labels, `[n]`, from the training frequencies.

        Raises:
            NotPrepared: the frequencies are not known.
        """
        if not self.counts.any():
            raise NotPrepared(
                "the class frequencies are not known yet: call variata.prepare(model, data), or give labels"
            )
        return torch.multinomial(self.counts.double(), n, replacement=True)

    def check(self, labels: Iterable[int]) -> None:
        """Refuses labels that never occurred in training.

        Raises:
            ConfigError: naming the first such label.
        """
        known = self.counts.nonzero().flatten().tolist()
        for label in labels:
            if known and label not in known:
                raise ConfigError(
                    Problem(f"class {label} never occurred in the training set (classes: {known})", "condition")
                )
