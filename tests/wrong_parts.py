"""Parts of each kind with one thing wrong each, which the conformance kit has to find (`test_kit.py`)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Normal, register_kl

from variata import (
    Batch,
    Clock,
    Corruption,
    Data,
    DataSpec,
    Decoder,
    Density,
    DiagonalNormal,
    Encoder,
    Estimate,
    LatentVariable,
    Logger,
    Metric,
    Network,
    Now,
    Objective,
    OnePhaseLoss,
    Optimizer,
    Phase,
    Prior,
    Sampler,
    Schedule,
    Shape,
    Split,
    StandardNormal,
    Term,
    Terms,
    estimate,
)


class Shifted(Independent):
    """A normal law whose log density is off by log 2."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) + math.log(2)


class Wider(Independent):
    """A law whose draws are wider than its density."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return 1.2 * super().rsample(sample_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return 1.2 * super().sample(sample_shape)


class Deaf(Independent):
    """A law that ignores torch's seed."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(*sample_shape, *self.batch_shape, *self.event_shape, generator=generator)

    sample = rsample


class LearnedPrior(Prior):
    """N(m, I)."""

    law: type = Independent

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(latent))

    def forward(self, y: Tensor | None = None) -> Independent:
        mean = self.mean if y is None else self.mean.expand(len(y), -1)
        return self.law(Normal(mean, torch.ones_like(mean)), 1)


class ShiftedPrior(LearnedPrior):
    """Its log density is off by a constant."""

    law = Shifted


class WiderPrior(LearnedPrior):
    """Its draws have another law than its density."""

    law = Wider


class DeafPrior(LearnedPrior):
    """Its sampler ignores the seed."""

    law = Deaf


class UnreachedPrior(LearnedPrior):
    """It has a parameter that nothing depends on."""

    def __init__(self, latent: int) -> None:
        super().__init__(latent)
        self.unused = nn.Parameter(torch.zeros(latent))


class SinglePrior(Prior):
    """It makes its tensors in float32, on the CPU."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, y: Tensor | None = None) -> Independent:
        zeros = torch.zeros(*([] if y is None else [len(y)]), self.latent)
        return Independent(Normal(zeros, torch.ones_like(zeros)), 1)


class ForgetfulPrior(Prior):
    """What it needs is neither a parameter nor a buffer."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.mean = torch.randn(latent, generator=torch.Generator().manual_seed(torch.randint(9**9, ()).item()))
        self.count = next(_COUNT)

    def forward(self, y: Tensor | None = None) -> Independent:
        mean = self.mean + self.count
        mean = mean if y is None else mean.expand(len(y), -1)
        return Independent(Normal(mean, torch.ones_like(mean)), 1)


_COUNT = iter(range(10**9))


class PlainEncoder(Encoder):
    """N(W x, I)."""

    def __init__(self, data: DataSpec, latent: int) -> None:
        super().__init__()
        self.map = nn.Linear(data.dimensions, latent)

    def law(self, mean: Tensor) -> Any:
        return DiagonalNormal(mean, torch.zeros_like(mean))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return self.law(self.map(x.flatten(1)))


class StatefulEncoder(PlainEncoder):
    """It keeps a running mean of what it has seen."""

    seen: Any = 0.0

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        self.seen = 0.9 * self.seen + 0.1 * x.mean().detach()
        return self.law(self.map(x.flatten(1) - self.seen))


class LeakingEncoder(PlainEncoder):
    """It centres a batch."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return self.law(self.map(x.flatten(1) - x.flatten(1).mean(0)))


class FlatEncoder(PlainEncoder):
    """It makes of each latent dimension an example."""

    def law(self, mean: Tensor) -> Any:
        return Normal(mean, torch.ones_like(mean))


class UnpicklableEncoder(PlainEncoder):
    """It holds a function that no other process can be sent."""

    def __init__(self, data: DataSpec, latent: int) -> None:
        super().__init__(data, latent)
        self.activation = lambda x: x


class Signed(Independent):
    """A normal law whose KL from the standard normal has the wrong sign."""


@register_kl(Signed, StandardNormal)
def _kl_signed(q: Signed, p: StandardNormal) -> Tensor:
    mean, scale = q.base_dist.mean, q.base_dist.stddev
    return -0.5 * (mean.square() + scale.square() - 2 * scale.log() - 1).sum(-1)


class SignedEncoder(PlainEncoder):
    """The KL of its law has the wrong sign."""

    def law(self, mean: Tensor) -> Any:
        return Signed(Normal(mean, torch.full_like(mean, 0.5)), 1)


class PlainDecoder(Decoder):
    """Bernoulli."""

    models = ("binary",)
    law: type = Independent

    def __init__(self, data: DataSpec, latent: int) -> None:
        super().__init__(data)
        self.shape, self.map = data.shape, nn.Linear(latent, data.dimensions)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        return self.law(Bernoulli(logits=self.map(z).unflatten(-1, self.shape)), len(self.shape))


class LeakingDecoder(PlainDecoder):
    """It normalises over the batch."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        return super().forward(z - z.mean(tuple(range(z.ndim - 1))), y)


class ShiftedDecoder(PlainDecoder):
    """Its probabilities sum to 2."""

    law = Shifted


class FlatDecoder(PlainDecoder):
    """It forgets the shape of the data."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        return Bernoulli(logits=self.map(z))


class RowsDecoder(PlainDecoder):
    """It takes one batch axis alone."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        return super().forward(z.flatten(0, -2), y)


class CentredNetwork(Network):
    """It centres a batch and does not say so."""

    def __init__(self, input: Shape, output: Shape, condition: Shape | None) -> None:
        super().__init__(input, output, condition)
        self.map = nn.Linear(math.prod(input), math.prod(output))

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = self.map(x.flatten(1))
        return (h - h.mean(0)).unflatten(1, self.output)


class InPlaceCorruption(Corruption):
    """It changes x itself."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.add_(torch.randn_like(x))


class FixedCorruption(Corruption):
    """Its noise is always the same."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


class SignedLoss(OnePhaseLoss):
    """KL with the wrong sign."""

    requires = LatentVariable

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        terms = model.terms(batch.x, batch.y)
        return Objective({"distortion": Term(-terms.reconstruction), "rate": Term(-terms.kl)}, terms.metrics())


class CoupledLoss(OnePhaseLoss):
    """It couples examples and does not say so."""

    requires = LatentVariable

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        value = -model.terms(batch.x, batch.y).elbo
        return Objective({"bound": Term(value + value.mean())})


class MovingLoss(OnePhaseLoss):
    """It moves its own state."""

    requires = LatentVariable
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        value = -model.terms(batch.x, batch.y).elbo
        self.mean.mul_(0.9).add_(value.mean().detach())
        return Objective({"bound": Term(value)})


class HalfLoss(OnePhaseLoss):
    """It leaves the encoder as it is."""

    requires = LatentVariable

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        return Objective({"bound": Term(-model.terms(batch.x, batch.y).elbo)})

    def phases(self, model: Any) -> list[Phase]:
        return [Phase(name="decoder", loss=self, parameters=list(model.decoder.parameters()))]


class WideLoss(OnePhaseLoss):
    """It gives a value for each dimension."""

    requires = LatentVariable

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        return Objective({"bound": Term(model.terms(batch.x, batch.y).layers[0].kl_per_dimension())})


class BitsModel(Density, Sampler):
    """Independent bits."""

    shift = 0.0

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.logits = nn.Parameter(torch.zeros(data.shape))

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return Independent(Bernoulli(logits=self.logits), len(self.spec.shape)).log_prob(x) + self.shift

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        return torch.bernoulli(self.logits.sigmoid().expand(n, *self.spec.shape))


class ShiftedModel(BitsModel):
    """Its log density is off by a constant."""

    shift = 0.1


class OtherModel(BitsModel):
    """It samples from another law than its density."""

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        return torch.bernoulli((0.5 * self.logits + 0.5).sigmoid().expand(n, *self.spec.shape))


class DeafModel(BitsModel):
    """Its samples ignore the seed."""

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.bernoulli(self.logits.sigmoid().expand(n, *self.spec.shape), generator=generator)


class LooseModel(LatentVariable):
    """Its bound lies above log p(x), since it leaves log q out."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.encoder, self.decoder = PlainEncoder(data, 2), PlainDecoder(data, 2)

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        from variata import Layer

        q, p = self.encoder(x), StandardNormal(torch.zeros(len(x), 2))
        z = q.rsample(() if samples is None else (samples,))
        return Terms([Layer(z, q, p, kl=torch.zeros(len(x)))], self.decoder(z).log_prob(x), samples)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.encoder(x).mean

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.decoder(z).mean

    def generate(self, n: int, condition: Tensor | None = None) -> Any:
        return self.decoder(torch.randn(n, 2))


class PlainData(Data):
    """Real numbers."""

    labels = 2

    def __init__(self, *, examples: int = 50) -> None:
        limits = {"low": -math.inf, "high": math.inf, "measure": "lebesgue"}
        self.spec = DataSpec((2,), "real", classes=2, **limits)
        self.x, self.y = self.drawn(examples), torch.arange(examples) % self.labels

    def drawn(self, examples: int) -> Tensor:
        return torch.randn(examples, 2, generator=torch.Generator().manual_seed(0))

    def split(self, name: str) -> Split:
        return Split(self.x, self.y)


class LabelledData(PlainData):
    """It has a class more than it says."""

    labels = 3


class UnseededData(PlainData):
    """It holds other examples each time."""

    def drawn(self, examples: int) -> Tensor:
        return torch.randn(examples, 2)


class HeldData(PlainData):
    """It holds what no other process can be sent."""

    def __init__(self, *, examples: int = 50) -> None:
        super().__init__(examples=examples)
        self.read = lambda: self.x


class LevelData(PlainData):
    """Its values lie between the levels that it speaks of."""

    def __init__(self, *, examples: int = 50) -> None:
        super().__init__(examples=examples)
        self.spec = DataSpec((2,), "levels", levels=3, classes=2)
        self.x = self.x.sigmoid()


class NaNMetric(Metric):
    """Not a number."""

    def measure(self, model: Any, data: Data, settings: Any) -> dict[str, Estimate]:
        return {"nothing": {"value": math.nan, "standard_error": None}}


class BatchMetric(Metric):
    """It depends on the size of batches: a mean of means."""

    def measure(self, model: Any, data: Data, settings: Any) -> dict[str, Estimate]:
        means = [batch.x.square().mean() for batch in data.split("test").batches(settings.batch_size)]
        return {"mean": estimate(torch.stack(means).square())}


class MovingMetric(Metric):
    """It changes the model."""

    def measure(self, model: Any, data: Data, settings: Any) -> dict[str, Estimate]:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1
        return {"weights": {"value": 1.0, "standard_error": None}}


class Descending(torch.optim.SGD):
    """Gradient descent."""


class UphillOptimizer(Optimizer):
    """It maximises."""

    def __init__(self, *, lr: float = 0.01) -> None:
        self.lr = lr

    def build(self, parameters: Any, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=lr, maximize=True)


class Restless(torch.optim.SGD):
    """It decays weights whatever the learning rate is, and counts its steps where nobody saves them."""

    count = 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter *= 1 - 0.01 / self.count
        return super().step(closure)


class RestlessOptimizer(UphillOptimizer):
    """It moves parameters at a learning rate of zero, and keeps state of its own."""

    def build(self, parameters: Any, lr: float) -> torch.optim.Optimizer:
        return Restless(parameters, lr=lr)


class CountingSchedule(Schedule):
    """It counts how often it was asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, clock: Clock) -> float:
        self.count += 1
        return float(self.count)


class EndlessSchedule(Schedule):
    """It ends in a division by zero."""

    def __call__(self, clock: Clock) -> float:
        return math.inf if clock.step >= clock.total_steps else 1.0


class RaisingLogger(Logger):
    """It raises."""

    def logged(self, context: Any) -> None:
        raise KeyError("lost")


class MeddlingLogger(Logger):
    """It changes what is trained."""

    def logged(self, context: Any) -> None:
        with torch.no_grad():
            for parameter in context.model.parameters():
                parameter += 0.01
