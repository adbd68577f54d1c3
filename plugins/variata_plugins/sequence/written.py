"""What models that write strings have in common: the law of a string given its source, if there is one."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from variata import ConfigError, DataSpec, Density, Problem, Sampler

from .law import StringLaw


class WritingModel(Density, Sampler):
    """An exact law of strings.

    Raises:
        ConfigError: the data is something else.
    """

    sequences = True

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        check_strings(data, "this model writes strings of tokens")

    @abstractmethod
    def law(self, n: int, y: Tensor | None = None) -> StringLaw:
        """p(x[ | y]) of n strings, batch shape `[n]`; y are their sources."""

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.law(len(x), y).log_prob(x)


def check_strings(data: DataSpec, what: str) -> None:
    """Refuses other data than strings.

    Raises:
        ConfigError: with what such data would be.
    """
    if data.support != "tokens":
        names = "text, pairs, reversal, copy or docstrings"
        raise ConfigError(Problem(f"{what}, and the data is {data.describe()}: set data.use to {names}"))


def vocabulary_size(data: DataSpec) -> int:
    """How many tokens there are."""
    assert data.levels is not None, "data of tokens says how many there are"
    return data.levels
