"""The checks of losses. A loss is tried in a preset in which it occurs, and, where a latent-variable model is all that
it requires, beside the kit's own Gaussian model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ..assembly import Assembly, assemble, prepare
from ..config import load_spec
from ..data import Batch, DataSpec
from ..errors import UserError
from ..interfaces import LatentVariable, Loss, Network
from ..objective import Clock, Now, Objective, Phase
from ..training import Loop, Training
from .laws import NotApplicable
from .partners import Descent, GaussianPartner, PartnerData
from .presets import check_training, first_batch
from .resuming import check_resume
from .subject import SPECS, Subject, examples

NOW = Clock(0, 10, 100)


def in_preset(subject: Subject) -> Assembly:
    """The preset that the component is tried in, built and prepared."""
    assembly = assemble(load_spec(subject.preset_name()))
    prepare(assembly.model, assembly.data)
    prepare(assembly.loss, assembly.data)
    return assembly


def objectives(assembly: Assembly, batch: Batch, seed: int = 0) -> list[tuple[Phase, Objective]]:
    """What every phase minimises, with noise of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [(phase, phase.loss(assembly.model, batch, Now(NOW))) for phase in assembly.loss.phases(assembly.model)]


def check_phases(subject: Subject) -> None:
    """Phases have names of their own and parameters; terms are `[batch]` or of the whole batch, and finite."""
    assembly = in_preset(subject)
    batch = first_batch(assembly, 16)
    found = objectives(assembly, batch)
    names = [phase.name for phase, _ in found]
    assert names, "has no phase"
    assert len(set(names)) == len(names), f"two phases have one name: {', '.join(names)}"
    for phase, objective in found:
        assert phase.parameters, f"the phase {phase.name} moves no parameter"
        assert objective.terms, f"the phase {phase.name} has no term"
        for name, term in objective.terms.items():
            shape = list(term.value.shape)
            assert shape in ([], [len(batch)]), (
                f"the term {name} has the shape {shape}: give one value for each example [{len(batch)}], or one in all"
            )
            assert term.value.isfinite().all(), f"the term {name} is not finite"
        for name, metric in objective.metrics.items():
            assert metric.ndim < 2 and len(metric.view(-1)) <= len(batch), (
                f"the metric {name} has the shape {list(metric.shape)}: give one value in all, or one for each example "
                "that it speaks of"
            )
    _check_signs({name: value for _, objective in found for name, value in objective.metrics.items()})


def _check_signs(metrics: dict[str, Any]) -> None:
    if {"elbo", "reconstruction", "kl"} <= set(metrics):
        elbo, reconstruction, kl = (metrics[name].double().mean() for name in ("elbo", "reconstruction", "kl"))
        assert torch.isclose(elbo, reconstruction - kl, rtol=1e-4, atol=1e-3), (
            f"the metric elbo is {elbo:.4g}, and reconstruction - kl is {reconstruction - kl:.4g}"
        )


def check_seeds(subject: Subject) -> None:
    """Everything that a loss draws follows torch's seed."""
    assembly = in_preset(subject)
    batch = first_batch(assembly, 16)
    one, again = (objectives(assembly, batch) for _ in range(2))
    for (phase, first), (_, second) in zip(one, again, strict=True):
        same = torch.equal(first.total(), second.total())
        assert same, (
            f"the phase {phase.name}: one seed and one batch give two values: it keeps state, or draws elsewhere"
        )


def check_state(subject: Subject) -> None:
    """Computing an objective moves nothing: state goes through `Objective.updates`, which an accepted step commits."""
    assembly = in_preset(subject)
    normalised = {
        id(buffer)
        for module in assembly.loss.modules()
        if isinstance(module, Network) and module.couples_batch
        for buffer in module.buffers()
    }
    watched = {name: b for name, b in assembly.loss.named_buffers() if id(b) not in normalised}
    watched |= dict(assembly.loss.named_parameters())
    before = {name: value.detach().clone() for name, value in watched.items()}
    objectives(assembly, first_batch(assembly, 16))
    moved = [name for name, value in watched.items() if not torch.equal(value, before[name])]
    assert not moved, f"computing the objective changes {', '.join(moved)}: return it in Objective.updates"


def check_coupling(subject: Subject) -> None:
    """An example's loss does not depend on the others of its batch, unless the loss says so (`couples_batch`)."""
    assembly = in_preset(subject)
    networks = [m for part in (assembly.model, assembly.loss) for m in part.modules() if isinstance(m, Network)]
    if assembly.loss.couples_batch or any(network.couples_batch for network in networks):
        raise NotApplicable("it says that it couples the examples of a batch")
    batch, other = first_batch(assembly, 16), first_batch(assembly, 32).take(torch.arange(16, 32))
    mixed = replace(batch, x=torch.cat([batch.x[:1], other.x[1:]]))
    for (phase, one), (_, two) in zip(objectives(assembly, batch), objectives(assembly, mixed), strict=True):
        for name, term in one.terms.items():
            if term.value.ndim and term.weight is None:
                same = torch.allclose(term.value[0], two.terms[name].value[0], atol=1e-4, rtol=1e-4)
                assert same, (
                    f"the phase {phase.name}: the term {name} of an example depends on the others of its batch: "
                    "set couples_batch = True"
                )


def check_gradients(subject: Subject) -> None:
    """Every parameter of the model and of the loss is moved by some phase."""
    check_training(in_preset(subject), steps=5)


def check_rate(subject: Subject) -> None:
    """What codes say of x costs and, where the decoder does not look at them, buys nothing: then training must not
    drive KL(q(z | x) || p(z)) up. A KL term of the wrong sign does."""
    spec = replace(SPECS["real table"], classes=None)
    model = GaussianPartner(spec, latent=2, blind=True)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    loss = _beside(subject, model)
    x = examples(spec, 64)
    before, after = _trained(model, loss, x, spec)
    assert after < before + 0.05, (
        f"with a decoder that does not look at z, training drove KL(q || p) from {before:.3g} to {after:.3g} nats: "
        "is the sign of its KL term wrong?"
    )


def _beside(subject: Subject, model: LatentVariable) -> Loss:
    if not issubclass(LatentVariable, subject.entry.load().requires):
        raise NotApplicable("requires more than a latent-variable model")
    try:
        loss = subject.build(model=model, data=model.spec)
        with torch.random.fork_rng(devices=[]):
            loss.phases(model)
    except UserError as error:
        raise NotApplicable(f"refuses a plain latent-variable model: {error}") from error
    return loss


def _trained(model: GaussianPartner, loss: Loss, x: torch.Tensor, spec: DataSpec) -> tuple[float, float]:
    """KL before and after some steps."""
    split = PartnerData(spec, x).split("train")
    before = float(model.terms(x).kl.detach().mean())
    try:
        loop = Loop(model, loss, Training(optimizer=Descent()), split, split, seed=0)
        for _ in range(30):
            loop.step(Batch(x))
    except (UserError, AttributeError, AssertionError) as error:
        raise NotApplicable(f"cannot train a plain latent-variable model: {error}") from error
    return before, float(model.terms(x).kl.detach().mean())


def check_resuming(subject: Subject) -> None:
    """Killed and resumed, training ends with the same weights."""
    check_resume(subject.preset_name())


LOSSES = {
    "phases": check_phases,
    "seeds": check_seeds,
    "state": check_state,
    "coupling": check_coupling,
    "gradients": check_gradients,
    "rate": check_rate,
    "resume": check_resuming,
}
