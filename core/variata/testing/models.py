r"""The checks of models: what each capability promises, on examples that are few enough to list.

sum_x p(x) = 1                           Density, Energy; by draws of the prior, LatentVariable
ELBO(x) <= log p(x)                      LatentVariable
draws follow log_prob                    Sampler and Density
gibbs leaves exp(-F) / Z as it is        Energy
log p(all observed) = log p(x), log p(nothing observed) = 0      Marginals
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from ..assembly import Builder, assemble, finish, prepare
from ..config import load_spec
from ..data import Batch, DataSpec, Shape
from ..errors import NotPrepared, Unsupported, UserError
from ..interfaces import Autoencoder, Classifier, Density, Energy, LatentVariable, Marginals, Sampler
from ..training import Loop, Training
from .laws import DRAWS, NotApplicable
from .losses import check_resuming, in_preset
from .partners import Descent, PartnerData
from .presets import check_preset, check_sampling, check_saving, check_terms, check_training, first_batch
from .subject import Subject, conditions, learned, shaken

TINY = {
    "binary": DataSpec((4,), "binary", levels=2, classes=2),
    "binary image": DataSpec((1, 2, 2), "binary", levels=2, classes=2),
    "levels": DataSpec((3,), "levels", levels=3, classes=2),
}


def on_tiny_data(subject: Subject) -> tuple[Any, Tensor, Tensor | None]:
    """The preset's model for examples that can be listed, every one of them, and y of each.

    Raises:
        NotApplicable: it takes none of them.
    """
    part = load_spec(subject.preset_name())["model"]
    said = ""
    for spec in TINY.values():
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = Builder().construct(part, {"data": spec})
                condition: Shape | None = spec.condition_shape if model.conditional else None
                model = shaken(learned(model, spec, 2, condition)).eval()
                assert spec.levels is not None
                values = [i / (spec.levels - 1) for i in range(spec.levels)]
                states = torch.tensor(list(itertools.product(values, repeat=spec.dimensions))).view(-1, *spec.shape)
                y = conditions(spec, condition, 1)
                return model, states, y[0].expand(len(states)) if y else None
        except (UserError, AssertionError, RuntimeError, ValueError, AttributeError) as error:
            said = f"{type(error).__name__}: {error}"
    raise NotApplicable(f"is no model of examples that can be listed ({said})")


def check_probabilities(subject: Subject) -> None:
    """The probabilities of all examples sum to one, and samples follow them."""
    model, states, y = on_tiny_data(subject)
    if not isinstance(model, Density | LatentVariable | Energy):
        raise NotApplicable("promises no likelihood")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            log_p, error = _log_probabilities(model, states, y)
        except Unsupported as unsupported:
            raise NotApplicable(str(unsupported)) from unsupported
        total = float(log_p.exp().sum())
        assert abs(total - 1) < 5 * error + 1e-3, (
            f"the probabilities of all {len(states)} examples sum to {total:.4g}, and not to 1"
        )
        if isinstance(model, Sampler) and not isinstance(model, Energy):
            n = DRAWS // 4
            drawn = model.sample(n, None if y is None else y[0]).flatten(1)
            same = (drawn[:, None] - states.flatten(1)[None]).abs().amax(-1) < 1e-4
            if not same.any(1).all():
                raise NotApplicable("samples are no examples, but means of them")
            frequency, p = same.double().mean(0), log_p.double().exp()
            off = (frequency - p).abs() - 5 * ((p * (1 - p) / n).sqrt() + error * p) - 3 / n
            worst = int(off.argmax())
            assert off[worst] < 0, (
                f"of {n} samples a share of {frequency[worst]:.4f} is an example whose probability is {p[worst]:.4f}: "
                "sample and the likelihood are two laws"
            )


def _log_probabilities(model: Any, states: Tensor, y: Tensor | None) -> tuple[Tensor, float]:
    """log p of each example, and the standard error of their sum."""
    if isinstance(model, Density):
        return (model.log_prob(states) if y is None else model.log_prob(states, y)), 0.0
    if isinstance(model, Energy):
        return -model.free_energy(states) - model.log_partition(), 0.0
    law = model.generate(DRAWS, None if y is None else y[0])
    p = torch.stack([law.log_prob(x.expand(DRAWS, *x.shape)) for x in states]).double().exp()
    return p.mean(1).log(), float(p.sum(0).std() / math.sqrt(DRAWS))


def check_bound(subject: Subject) -> None:
    """After some training, when q says something of x, the ELBO of every example is still a lower bound on its
    log p(x), which draws of the prior tell."""
    model, states, y = on_tiny_data(subject)
    if not isinstance(model, LatentVariable):
        raise NotApplicable("promises no bound")
    classes = model.spec.classes
    labels = torch.arange(len(states)) % classes if y is None and classes else y  # a loss may need them, the model not
    _train_a_little(model.train(), load_spec(subject.preset_name())["loss"], Batch(states, labels))
    model.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        log_p, _ = _log_probabilities(model, states, y)
        terms = model.terms(states, y, 500)
        each = terms.log_weights().double()
        bound, error = each.mean(0), each.std(0) / math.sqrt(len(each))
        elbo = terms.elbo.double()
    above = (torch.maximum(bound, elbo) - log_p - 5 * error - 0.05).max()
    assert above < 0, f"an ELBO lies {above:.3g} nats above log p(x): is log q, log p or KL(q || p) off?"


def _train_a_little(model: Any, part: Any, batch: Batch) -> None:
    loss = Builder().construct(part, {"model": model, "data": model.spec})
    prepare(loss, [batch])
    split = PartnerData(model.spec, batch.x, batch.y).split("train")
    loop = Loop(model, loss, Training(optimizer=Descent(), clip=10.0), split, split, seed=0)
    for _ in range(100):
        loop.step(batch)


def check_gibbs(subject: Subject) -> None:
    """One sweep of an energy model leaves its law as it is, and `base` is the law at beta = 0."""
    model, states, _ = on_tiny_data(subject)
    if not isinstance(model, Energy):
        raise NotApplicable("promises no energy")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        p = (-model.free_energy(states)).double().softmax(0)
        rows = torch.multinomial(p, DRAWS, replacement=True)
        moved = model.gibbs(states[rows]).flatten(1)
        same = (moved[:, None] - states.flatten(1)[None]).abs().amax(-1) < 1e-4
        off = (same.double().mean(0) - p).abs() - 5 * (p * (1 - p) / DRAWS).sqrt() - 1e-3
        assert off.max() < 0, "a sweep of gibbs does not leave exp(-F) / Z as it is"
        base, at_zero = model.base().log_prob(states).reshape(-1), -model.free_energy(states, 0.0)
        apart = (base - at_zero) - (base - at_zero).mean()
        assert apart.abs().max() < 1e-3, "base() is not the law at beta = 0"


def check_marginals(subject: Subject) -> None:
    """A marginal of everything is the density, and of nothing is one."""
    model, states, _ = on_tiny_data(subject)
    if not isinstance(model, Marginals):
        raise NotApplicable("promises no marginals")
    with torch.no_grad():
        everything = torch.ones_like(states, dtype=torch.bool)
        assert torch.allclose(model.log_marginal(states, everything), model.log_prob(states), atol=1e-4), (
            "log_marginal of everything is not log_prob"
        )
        nothing = model.log_marginal(states, ~everything)
        assert nothing.abs().max() < 1e-3, f"log_marginal of nothing is {nothing.abs().max():.3g}, and not 0"


def check_capabilities(subject: Subject) -> None:
    """Each capability gives what it promises: shapes, supports, seeds, and independence of the batch."""
    assembly = in_preset(subject)
    check_training(assembly, 30)  # what is fitted after training is fitted to codes that say something
    assert assembly.data is not None
    finish(assembly.model, assembly.data)
    model = assembly.model.eval()
    batch = first_batch(assembly, 16)
    try:
        check_sampling(model)
    except NotPrepared as error:
        raise NotApplicable(f"samples after training alone: {error}") from error
    check_terms(model, batch)
    if isinstance(model, Autoencoder):
        assert model.eval().encode(batch.x, batch.y).shape[0] == len(batch), "codes without a batch axis"
    if isinstance(model, Classifier):
        total = model.classify(batch.x).exp().sum(-1)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-4), "probabilities of classes do not sum to 1"


def check_weights(subject: Subject) -> None:
    """Saved and loaded, a model built anew has equal numbers."""
    assembly = assemble(load_spec(subject.preset_name()))
    check_saving(assembly)


def check_contract(subject: Subject) -> None:
    """The contract of the preset (`check_preset`)."""
    check_preset(subject.preset_name(), seeds=(0,))


MODELS = {
    "capabilities": check_capabilities,
    "probabilities": check_probabilities,
    "bound": check_bound,
    "gibbs": check_gibbs,
    "marginals": check_marginals,
    "saving": check_weights,
    "contract": check_contract,
    "resume": check_resuming,
}
