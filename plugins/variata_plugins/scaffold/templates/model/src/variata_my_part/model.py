r"""p(x) = prod_i s(a_i)^x_i (1 - s(a_i))^(1 - x_i): every element of x is a bit of its own, with the logit a_i.

Its best logits are those of the means of the data. It is the least that any other model of binary data has to beat.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

from variata import ConfigError, DataSpec, Density, Problem, Sampler


class MyPart(Density, Sampler):
    """Independent bits.

    Args:
        data: what an example is.

    Raises:
        ConfigError: the data is not binary.
    """

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        if data.support != "binary":
            raise ConfigError(Problem(f"is a model of binary data, and this is {data.describe()}: set data.binarize"))
        self.logits = nn.Parameter(torch.zeros(data.shape))

    def _law(self) -> Independent:
        return Independent(Bernoulli(logits=self.logits, validate_args=False), len(self.spec.shape))

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self._law().log_prob(x)

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        return self._law().sample((n,))
