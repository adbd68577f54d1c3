r"""A circuit as the prior of one-hot codes: p(z) of L variables of K classes that depend on one another, with every
marginal exact, learned together with the rest of a model.

A leaf's log p_k(z_v) = sum_c z_vc log theta_vck is linear in the one-hot vector z_v, as the log-probability of
independent codes is, so that the gradient of a relaxed draw passes through it.

    KL(q || p) = -H(q) - E_q[log p(z)],    H(q) exactly, and log p(z) at the draw

Chen et al. (2017), Variational lossy autoencoder, arXiv:1611.02731 (what a prior that can be learned does to a bound).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from variata import (
    ConfigError,
    DataSpec,
    Encoder,
    Factory,
    Layer,
    Prepares,
    Prior,
    Problem,
    Shared,
    default,
    make,
    register_rsample_and_kl,
)

from ..discrete.categorical import CategoricalEncoder
from ..discrete.one_hot import OneHot
from .leaves import Categorical
from .model import Circuit
from .structure import Structure

_SPREAD = 0.1
"""Of the first laws, which are nearly uniform: a prior that says much before there are codes holds them back."""


class CircuitPrior(Prior, Prepares):
    """p(z) of one-hot codes, a circuit; it does not depend on y.

    Args:
        structure: of the circuit: one that learns nothing from data, since there are no codes before training.
        encoder: the model's.

    Raises:
        ConfigError: the encoder gives no one-hot codes, or the structure is learned from data.
    """

    prepares_itself = ("circuit",)

    def __init__(
        self,
        *,
        structure: Factory[Structure] = default("structure", "rat", units=16, depth=2, repetitions=4),
        encoder: Shared[Encoder],
    ) -> None:
        super().__init__()
        if not isinstance(encoder, CategoricalEncoder):
            message = f"this prior is a law of one-hot codes, and the encoder is {type(encoder).__name__}"
            raise ConfigError(Problem(f"{message}: use the encoder categorical"))
        variables, self.classes = encoder.shape
        codes = DataSpec((variables,), "levels", levels=self.classes, high=self.classes - 1.0, transform="codes")
        chosen: Structure = make(structure, data=codes)
        if chosen.learned:
            message = f"{type(chosen).__name__} is learned from data, and there are no codes before training"
            raise ConfigError(Problem(f"{message}: use rat or mixture", "structure"))
        self.circuit = Circuit(codes, structure=lambda **given: chosen, leaves=default("leaf", "categorical"))
        with torch.no_grad():  # classes have no order that a unit could be tilted along
            theta = next(self.circuit.leaves.parameters())
            theta.copy_((_SPREAD * torch.randn_like(theta)).log_softmax(1))

    def prepare(self, stream: Any) -> None:
        """There is nothing to learn from x."""

    def forward(self, y: Tensor | None = None) -> CircuitLaw:
        return CircuitLaw(self.circuit, self.classes, torch.Size(() if y is None else y.shape[:1]))


class CircuitLaw(Distribution):
    """Rows of one-hot vectors, packed on the last axis, as a circuit over the classes has them.

    Args:
        circuit: over L variables of K levels, with leaves that are tables.
        classes: K; events are `[L * K]`.
        batch_shape: as many equal laws.
    """

    def __init__(self, circuit: Circuit, classes: int, batch_shape: torch.Size) -> None:
        self.circuit, self.classes = circuit, classes
        super().__init__(batch_shape, torch.Size([circuit.spec.dimensions * classes]), validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.boolean, 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> CircuitLaw:
        return CircuitLaw(self.circuit, self.classes, torch.Size(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        leaves = self.circuit.leaves
        assert isinstance(leaves, Categorical)
        z = value.reshape(-1, self.circuit.spec.dimensions, self.classes).transpose(0, 1)[self.circuit.variable]
        with torch.autocast(value.device.type, enabled=False):
            table = leaves.table()
            return self.circuit.log_root(z.to(table.dtype) @ table).reshape(value.shape[:-1])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        codes = self.circuit.sample(shape.numel()).round().long()
        like = self.circuit.weights[0]
        one_hot = torch.nn.functional.one_hot(codes, self.classes).to(like)
        return one_hot.flatten(1).reshape(shape + self.event_shape)


class CodesLayer(Layer):
    """One-hot codes under a circuit: their entropy is known, and only what the circuit says of them is that of a
    draw."""

    q: OneHot

    @property
    def kl(self) -> Tensor:
        if self._kl is None:
            self._kl = -self.q.entropy() - self.log_p
        return self._kl


@register_rsample_and_kl(OneHot, CircuitLaw)
def _draw(q: OneHot, p: CircuitLaw, samples: int | None) -> Layer:
    return CodesLayer(q.rsample(() if samples is None else (samples,)), q, p)
