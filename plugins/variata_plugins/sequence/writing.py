"""Ways to write a string, by name: what a command and a metric may be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .law import StringLaw

Strategy = Literal["greedy", "beam", "sample"]


@dataclass(frozen=True)
class Writing:
    """How strings are written.

    Attributes:
        strategy: the most probable token each time; the best string of a beam; a draw.
        width: strings of the beam.
        length_normalisation: the power of its length that a string's log p is divided by, in a beam.
        temperature: of draws.
    """

    strategy: Strategy = "greedy"
    width: int = 5
    length_normalisation: float = 1.0
    temperature: float = 1.0

    def __call__(self, law: StringLaw) -> Tensor:
        """A string of each law, `[*batch, T]`."""
        if self.strategy == "beam":
            return law.best(self.width, self.length_normalisation)
        return law.drawn(self.temperature) if self.strategy == "sample" else law.mean
