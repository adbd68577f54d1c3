r"""What the parts of a model are, and what a model can do.

    log p(x) - KL[q(z|x) || p(z|x)]  =  E_q[log p(x|z)] - KL[q(z|x) || p(z)]

Everything on the right is somebody's choice: the encoder gives q(z | x), the prior p(z), the decoder p(x | z), and
the loss is the bound. Encoder, prior and decoder return `torch.distributions` objects. Models of another form stand
beside these: they say by class what they can do, and everything else asks with `isinstance`.

Constructors follow one rule: positional parameters are *given* by the parent, which alone knows the sizes; keyword-only
parameters are the options that users write in YAML.

Axes: `samples=None` gives `[batch, ...]`; an integer, 1 included, gives `[samples, batch, ...]`. All log-probabilities,
divergences and losses are in nats per example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .data import Batch, Data, DataSpec, Shape
from .errors import ConfigError, Problem, article
from .estimates import Estimate, EvaluationSettings
from .objective import Now, Objective, Phase
from .terms import Terms

T = TypeVar("T", covariant=True)


class Factory(Protocol, Generic[T]):
    """A part handed over unbuilt: `make(part, **given)` builds it once its sizes are known. In Python, a
    `functools.partial` of the part's class, or a module that is built already."""

    def __call__(self, **given: Any) -> T: ...


class Shared(Generic[T]):
    """Annotates an option that is the sibling of the same name: `encoder: Shared[Encoder]` of a prior is the encoder of
    the model that the prior belongs to. Never written in YAML; in Python, pass the module."""


class Network(nn.Module, ABC):
    """A deterministic map of arrays, [*lead, *input] -> [*lead, *output], that may depend on a condition y.

    `__call__` alone deals with the leading axes: it flattens them, expands y to them, turns integer labels into one-hot
    vectors, and restores the axes; `forward` sees one batch axis. How y enters is the network's own option.

    `couples_batch` says that an output depends on the other examples of its batch, as batch normalisation makes it.

    Args:
        input, output: shapes of one example.
        condition: shape of y for one example, `(classes,)` for labels; None where there is none.
    """

    couples_batch: bool = False

    def __init__(self, input: Shape, output: Shape, condition: Shape | None = None) -> None:
        super().__init__()
        self.input, self.output = tuple(input), tuple(output)
        self.condition = None if condition is None else tuple(condition)

    def __call__(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        lead = x.shape[: x.ndim - len(self.input)]
        if tuple(x.shape[len(lead) :]) != self.input:
            raise ValueError(f"{type(self).__name__} takes [*, {list(self.input)}], got {list(x.shape)}")
        y = None if self.condition is None else self._expanded(y, lead, self.condition)
        if len(lead) == 1:
            return super().__call__(x, y)
        return super().__call__(x.reshape(-1, *self.input), y).reshape(*lead, *self.output)

    def _expanded(self, y: Tensor | None, lead: torch.Size, condition: Shape) -> Tensor:
        if y is None:
            raise ValueError(f"{type(self).__name__} is conditional: it needs y {list(condition)}")
        if not y.is_floating_point():
            dtype = next((p.dtype for p in self.parameters()), torch.get_default_dtype())
            y = nn.functional.one_hot(y.long(), condition[0]).to(dtype)
        if y.shape[: y.ndim - len(condition)] == lead and len(lead) == 1:
            return y
        return y.expand(*lead, *condition).reshape(-1, *condition)

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        """`[n, *input]` (and `[n, *condition]`) -> `[n, *output]`."""


class Layered(Network):
    """A network that is a chain of affine layers with a nonlinearity after each, so that a model may put something of
    its own between them, as a ladder network puts noise and normalisation."""

    @abstractmethod
    def chain(self) -> Sequence[tuple[nn.Module, nn.Module]]:
        """Each layer (`nn.Linear`, which reads what is before it flattened, or `nn.Conv2d`) with the nonlinearity after
        it, from the input on; after the last one there is `nn.Identity()`.

        Raises:
            ConfigError: this one has something else between its layers.
        """


class Encoder(nn.Module, ABC):
    """q(z | x[, y]). Given: `data: DataSpec`, `latent: int`, `condition: Shape | None` (name those that are needed).

    `sequences` says whether it reads strings of tokens, which are numbers without an order.
    """

    sequences: ClassVar[bool] = False

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """x `[batch, *event]` -> a distribution with batch shape `[batch]` and event shape `[latent]`."""


class Prior(nn.Module, ABC):
    """p(z[ | y]). Given: `data`, `latent`, `condition`, as for an encoder."""

    @abstractmethod
    def forward(self, y: Tensor | None = None) -> Distribution:
        """A distribution with batch shape `[]` (or `[batch]` where it depends on y) and event shape `[latent]`."""


class Decoder(nn.Module, ABC):
    """p(x | z[, y]). Given: `data`, `latent`, `condition`, as for an encoder.

    `models` names the kinds of values (`DataSpec.support`) that the decoder's distribution is a law of; data of another
    kind is refused at build, since its likelihoods would be numbers without meaning. It is empty where there is no law,
    but a point, which any data may have. `leaves_out` says whether the likelihood is that of the elements that are
    there, where some are missing.
    """

    models: ClassVar[tuple[str, ...]]
    leaves_out: ClassVar[bool] = False

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        if data.missing and not self.leaves_out:
            raise ConfigError(
                _no_reader("decoder", "leaves_out", f"{type(self).__name__}'s likelihood needs all values")
            )
        if self.models and data.support not in self.models:
            from .plugins import registry

            takers = registry().decoders_of(data.support)
            remedy = f"use a decoder for it ({', '.join(takers)})" if takers else "transform the data"
            if "binary" in self.models and data.support in ("levels", "interval"):
                remedy = f"set data.binarize (dynamic, static or threshold) or {remedy}"
            elif data.support == "levels" and "interval" in self.models:
                remedy = f"set data.dequantize=uniform or {remedy}"
            raise ConfigError(
                Problem(
                    f"{type(self).__name__} is a law of {' or '.join(self.models)} data, but the data is "
                    f"{data.describe()}: {remedy}"
                )
            )

    @abstractmethod
    def forward(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        """z `[*lead, latent]` -> a distribution with batch shape `lead`, the data's event shape, and a `mean`."""


class Corruption(nn.Module, ABC):
    """C(x~ | x): noise that a model is to undo, or to be robust against. Given: `data: DataSpec`, of hidden units where
    those are corrupted."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """x `[*lead, *event]` -> x~ of the same shape, drawn afresh each time."""


class Loss(nn.Module, ABC):
    """What is minimised. What only training needs (a critic, persistent chains) belongs to the loss, not to the model.

    May be given `model`, where its sizes follow from the model's.

    Attributes:
        requires: the capability that it needs of the model.
        couples_batch: an example's loss depends on the other examples of its batch. Then a batch cannot be cut into
            pieces, and several processes can train only where the loss
        gathers: collects what it couples from all of them, by `variata.gathered`.
        per_process: names of its buffers that each process has its own of (persistent chains).
    """

    requires: ClassVar[type] = nn.Module
    couples_batch: bool = False
    gathers: ClassVar[bool] = False
    per_process: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def phases(self, model: Any) -> Sequence[Phase]:
        """How one training step goes, phase by phase."""


class OnePhaseLoss(Loss):
    """A loss that moves every parameter, its own and the model's, by one objective."""

    @abstractmethod
    def forward(self, model: Any, batch: Batch, now: Now) -> Objective:
        """The objective of one batch."""

    def phases(self, model: Any) -> Sequence[Phase]:
        parameters = [p for module in (model, self) for p in module.parameters() if p.requires_grad]
        return [Phase(name="train", loss=self, parameters=list(dict.fromkeys(parameters)))]


class Model(nn.Module, ABC):
    """A model of x. Given: `data: DataSpec`; `spec` is that description. Nothing else is promised here.

    `conditional` says whether it is a model of x given y. Then `conditions` knows which y training had
    (`conditions.py`). `tables` says whether it can read rows whose columns are of several kinds, or that lack values;
    `sequences` whether it can read strings of tokens. `started` and `frozen` name parts that have a run's weights, and
    that training leaves as they are (`starting.py`).
    """

    tables: ClassVar[bool] = False
    sequences: ClassVar[bool] = False
    conditional: bool = False
    conditions: Any
    started: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        ability = ability_to_read(data)
        if not (data.regular or getattr(self, ability)):
            message = (
                f"{type(self).__name__} reads numbers of one kind, none missing, and the data is {data.describe()}"
            )
            raise ConfigError(_no_reader("model", ability, message))
        self.spec = data

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


class Sampler(Model):
    """Can draw examples. A conditional model draws y from the training frequencies where none is given.

    `by_class` says of a model of x and y together that it draws examples of a class where one is asked for, though it
    needs no y to read an example.
    """

    by_class: ClassVar[bool] = False

    @abstractmethod
    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        """x `[n, *event]`; `condition` is y for each, `[n]` labels or `[n, *condition]`.

        Raises:
            NotPrepared: y has to be drawn, and the training frequencies are not known.
        """


class Autoencoder(Model):
    """Can encode and decode; both are deterministic (posterior mean, decoder mean)."""

    @abstractmethod
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """x `[batch, *event]` -> codes `[batch, *latent]`."""

    @abstractmethod
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """codes `[*lead, *latent]` -> `[*lead, *event]`."""

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """decode(encode(x)), `[batch, *event]`."""
        return self.decode(self.encode(x, y), y)


class LatentVariable(Sampler, Autoencoder):
    """p(x) = E_p(z)[p(x | z)] with a posterior q(z | x); claimed only where q and p are densities."""

    @abstractmethod
    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        """Draws the layers from q and evaluates p(x | z): what every bound is made of."""

    @abstractmethod
    def generate(self, n: int, condition: Tensor | None = None) -> Distribution:
        """p(x | z) at n draws z ~ p(z): batch shape `[n]`. The decoder alone is needed."""

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        return self.generate(n, condition).sample()


class Density(Model):
    """Has an exact density."""

    @abstractmethod
    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """log p(x[ | y]), `[batch]`."""


class Inpainter(Model):
    """Can draw what is not observed given what is: exactly, or in the limit of a chain."""

    @abstractmethod
    def sample_given(self, x: Tensor, observed: Tensor) -> Tensor:
        """Fills what is not observed from p(x_rest | x_observed), `[batch, *event]`; `observed` is a mask of x's shape,
        and the other values of x are not read."""


class Marginals(Density, Inpainter):
    """Every marginal and conditional is exact."""

    @abstractmethod
    def log_marginal(self, x: Tensor, observed: Tensor) -> Tensor:
        """log p(x_observed), `[batch]`; `observed` is a mask of x's shape, what is not observed is summed out."""


class Energy(Model):
    """p(x) = exp(-F(x)) / Z."""

    @abstractmethod
    def free_energy(self, x: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        """F(x) at inverse temperature beta, `[batch]`; beta = 0 is `base()`, up to its constant."""

    @abstractmethod
    def gibbs(self, x: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        """One sweep that leaves the law at beta invariant."""

    @abstractmethod
    def base(self) -> Distribution:
        """The law at beta = 0, which can be sampled and whose partition function is known."""

    @abstractmethod
    def log_partition(self) -> Tensor:
        """log Z, exactly.

        Raises:
            Unsupported: there are too many states to enumerate.
        """


class Chain(Sampler):
    """Samples by a Markov chain, whose state is a tuple of tensors `[n, ...]`.

    Attributes:
        burn_in: steps before a sample is taken.
        chains: how many chains `sample` runs side by side; None for one for each sample. Where there is a condition,
            each sample has a chain of its own.
        thinning: steps between two samples of one chain.
    """

    burn_in: int
    chains: int | None
    thinning: int

    @abstractmethod
    def start(self, n: int, condition: Tensor | None = None) -> tuple[Tensor, ...]:
        """States to start n chains from."""

    @abstractmethod
    def step(self, state: tuple[Tensor, ...], condition: Tensor | None = None) -> tuple[Tensor, ...]:
        """One transition of each chain."""

    @abstractmethod
    def visible(self, state: tuple[Tensor, ...]) -> Tensor:
        """The x of each state, `[n, *event]`."""

    @torch.no_grad()
    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        from .conditions import asked_condition

        y = asked_condition(self, n, condition)
        state = self.start(min(n, self.chains or n) if y is None else n, y)
        for _ in range(self.burn_in):
            state = self.step(state, y)
        drawn = [self.visible(state)]
        while sum(map(len, drawn)) < n:
            for _ in range(self.thinning):
                state = self.step(state, y)
            drawn.append(self.visible(state))
        return torch.cat(drawn)[:n]


class Classifier(Model):
    """Can tell the class of an example."""

    @abstractmethod
    def classify(self, x: Tensor) -> Tensor:
        """log p(y | x), `[batch, classes]`."""


class Prepares(ABC):
    """A module that learns something from the training data before the optimisers exist. It becomes buffers whose
    shapes follow from the specification, so that loading never needs data.

    `prepares_itself` names those of its modules that nobody else prepares: their data is not the training data (codes,
    hidden units), or is not there yet.
    """

    prepares_itself: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def prepare(self, stream: Iterable[Batch]) -> None:
        """`stream` may be iterated any number of times; it gives the training batches in a fixed order."""


class Finishes(ABC):
    """A module that learns something from the data after training (an ex-post density)."""

    @abstractmethod
    def finish(self, model: Any, stream: Iterable[Batch]) -> None:
        """As `Prepares.prepare`, with the trained model."""


class Metric(ABC):
    """A figure beyond those that follow from a model's likelihood: `variata evaluate RUN metrics=[NAME, ...]`.

    `requires` is the capability that it needs of the model; `tables` and `sequences` are as for a model.
    """

    requires: ClassVar[type] = Model
    tables: ClassVar[bool] = False
    sequences: ClassVar[bool] = False

    @abstractmethod
    def measure(self, model: Any, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        """Estimates by name, a name that says what was measured and with what ("fid[lenet]").

        The model is in evaluation mode, torch's generator is seeded with `settings.seed` and restored afterwards.
        """


def ability_to_read(data: DataSpec) -> str:
    """The name of what a component must be able to, where data is not `regular`."""
    return "sequences" if data.support == "tokens" else "tables"


def _no_reader(kind: str, ability: str, message: str) -> Problem:
    """What a table or a string is refused with, and which installed components would read it."""
    from .plugins import registry

    takers = ", ".join(registry().able(kind, ability))
    otherwise = "impute first" if ability == "tables" else "choose other data"
    return Problem(f"{message}: {f'use {article(kind)} for it ({takers})' if takers else otherwise}")
