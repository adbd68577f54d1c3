"""A part of a model that gives an invertible map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn
from torch.func import functional_call

from .bijection import Bijection

Direction = Literal["sample", "density"]


class Flow(nn.Module, ABC):
    """An invertible map from noise z_0 to z that may depend on a context. Given, name those that are needed:
    `features`, the size of z; `context`, that of the context (0 for none); `direction`, in which training goes through
    it: "sample", from z_0 to z, in a posterior, "density", from z to z_0, in a prior."""

    @abstractmethod
    def forward(self, context: Tensor | None) -> Bijection:
        """context `[*batch, context]` -> the map of `[*, *batch, features]`."""


class ConstantMap(Bijection):
    """The map of a flow at a context, with parameters and a context that receive no gradient, while z does: what
    gradients that leave out the score of q need.

    Args:
        flow, context: as for the flow's own map.
    """

    def __init__(self, flow: Flow, context: Tensor | None) -> None:
        self.flow, self.context = flow, None if context is None else context.detach()

    def forward(self, start: Tensor) -> tuple[Tensor, Tensor]:
        return self._mapped(start, False)

    def inverse(self, end: Tensor) -> tuple[Tensor, Tensor]:
        return self._mapped(end, True)

    def _mapped(self, value: Tensor, back: bool) -> tuple[Tensor, Tensor]:
        # Networks run when a map is applied, not when it is made: both within one call.
        held = {f"flow.{name}": p.detach() for name, p in self.flow.named_parameters()}
        return functional_call(_Applied(self.flow), held, (self.context, value, back))


class _Applied(nn.Module):
    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, context: Tensor | None, value: Tensor, back: bool) -> tuple[Tensor, Tensor]:
        bijection = self.flow(context)
        return bijection.inverse(value) if back else bijection.forward(value)
