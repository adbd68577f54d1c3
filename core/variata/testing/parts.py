"""The checks of encoders, priors, decoders, networks and corruptions, a function each; and by kind, `PARTS`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from ..data import DataSpec, Shape
from ..distributions import rsample_and_kl
from ..errors import Unsupported
from ..interfaces import Network
from . import modules
from .laws import NotApplicable, check_divergence, check_law, check_seeds
from .presets import check_support
from .subject import BATCH, Probe, Subject, conditions, examples, learned, shaken

Check = Callable[[Subject], None]


def encoder_probe(subject: Subject, spec: DataSpec, condition: Shape | None) -> Probe:
    """q(z | x[, y])."""
    given = {"data": spec, "latent": subject.latent, "condition": condition}

    def again() -> torch.nn.Module:
        return learned(subject.build(**given), spec, subject.latent, condition)

    inputs = (examples(spec), *conditions(spec, condition))
    return Probe(shaken(again()), inputs, again, spec)


def prior_probe(subject: Subject, spec: DataSpec, condition: Shape | None) -> Probe:
    """p(z[ | y])."""
    given = {"data": spec, "latent": subject.latent, "condition": condition}

    def again() -> torch.nn.Module:
        beside = {"encoder": subject.sibling("encoder", {}, given)}
        return learned(subject.build(beside, **given), spec, subject.latent, condition)

    return Probe(shaken(again()), conditions(spec, condition), again, spec)


def decoder_probe(subject: Subject, spec: DataSpec, condition: Shape | None) -> Probe:
    """p(x | z[, y])."""
    given = {"data": spec, "latent": subject.latent, "condition": condition}
    z = torch.randn(BATCH, subject.latent, generator=torch.Generator().manual_seed(4))

    def again() -> torch.nn.Module:
        return learned(subject.build(**given), spec, subject.latent, condition)

    return Probe(shaken(again()), (z, *conditions(spec, condition)), again, spec, spec)


def network_probe(subject: Subject, spec: DataSpec, condition: Shape | None) -> Probe:
    """A map of examples to four numbers, or, where it makes images, of two numbers to examples."""
    try:
        sizes = {"input": spec.shape, "output": (4,), "condition": condition}
        subject.build(**sizes)
        x = examples(spec)
    except Exception:
        sizes = {"input": (2,), "output": spec.shape, "condition": condition}
        x = torch.randn(BATCH, 2, generator=torch.Generator().manual_seed(4))
    return Probe(
        shaken(subject.build(**sizes)), (x, *conditions(spec, condition)), lambda: subject.build(**sizes), spec
    )


def corruption_probe(subject: Subject, spec: DataSpec, condition: Shape | None) -> Probe:
    """C(x~ | x)."""
    if condition is not None:
        raise Unsupported("a corruption has no condition")
    return Probe(subject.build(data=spec), (examples(spec),), lambda: subject.build(data=spec), spec)


_MAKE = {
    "encoder": encoder_probe,
    "prior": prior_probe,
    "decoder": decoder_probe,
    "network": network_probe,
    "corruption": corruption_probe,
}


def probes(subject: Subject) -> list[Probe]:
    """The part, for every data set that it takes."""
    return subject.probes(_MAKE[subject.kind])


def each(check: Callable[[Probe], None], few: bool = False) -> Check:
    """The check for every data set, with its name in what is said; where it takes long, for a few of them."""

    def run(subject: Subject) -> None:
        reasons: list[str] = []
        found = probes(subject)[: 2 if few else None]
        for probe in found:
            try:
                check(probe)
            except NotApplicable as error:
                reasons.append(str(error))
            except AssertionError as error:
                raise AssertionError(f"{error} [{probe.name}]") from error
        if len(reasons) == len(found):
            raise NotApplicable(reasons[0])

    run.__doc__ = check.__doc__
    return run


# Shapes


def check_shapes(subject: Subject) -> None:
    """Batch and event shapes are those that the interface states, and draws lie where values may lie."""
    for probe in probes(subject):
        try:
            _check_shapes(subject, probe)
        except AssertionError as error:
            raise AssertionError(f"{error} [{probe.name}]") from error


def _check_shapes(subject: Subject, probe: Probe) -> None:
    out = probe()
    if isinstance(out, torch.Tensor) and subject.kind not in ("encoder", "prior"):
        wanted = (BATCH, *(probe.part.output if isinstance(probe.part, Network) else probe.spec.shape))
        assert out.shape == wanted, f"gives the shape {list(out.shape)}, and not {list(wanted)}"
        assert out.isfinite().all(), "gives numbers that are not finite"
        return
    assert isinstance(out, Distribution), f"gives a {type(out).__name__}, and not a distribution"
    event = probe.spec.shape if probe.spec_of_law else (subject.latent,)
    batch = (BATCH,) if probe.inputs else ()
    remedy = "" if len(out.batch_shape) <= 1 else ": wrap the law in torch.distributions.Independent"
    assert (*out.batch_shape, *out.event_shape) == (*batch, *event), (
        f"a law of batch shape {list(out.batch_shape)} and event shape {list(out.event_shape)}, "
        f"and not {list(batch)} and {list(event)}{remedy}"
    )
    assert tuple(out.event_shape) == tuple(event), (
        f"events of the shape {list(out.event_shape)}, and not {list(event)}: wrap the law in "
        f"{Independent.__module__.rpartition('.')[0]}.Independent"
    )
    with torch.no_grad():
        drawn = out.sample((3,))
        log_p = out.log_prob(drawn)
    assert drawn.shape == (3, *batch, *event), f"draws of the shape {list(drawn.shape)}"
    assert log_p.shape == (3, *batch), f"log densities of the shape {list(log_p.shape)}, and not {[3, *batch]}"
    assert log_p.isfinite().all(), "the density of a draw is not finite"
    if probe.spec_of_law is not None:
        mean = out.mean
        assert mean.shape == (*batch, *event), f"a mean of the shape {list(mean.shape)}, and not {[*batch, *event]}"
        if probe.spec_of_law.measure == "counting":
            check_support(drawn, probe.spec_of_law)


# Laws


def check_density(subject: Subject) -> None:
    """The density is normalised, and draws follow it."""

    def one(probe: Probe) -> None:
        law = _law(probe, tuple(x[:1] for x in probe.inputs))
        spec = probe.spec_of_law
        check_law(law, spec, None if subject.reference is None else subject.reference(law))

    each(one, few=subject.kind != "decoder")(subject)


def _law(probe: Probe, inputs: tuple[Tensor, ...] | None = None) -> Distribution:
    law = probe(inputs=inputs)
    if not isinstance(law, Distribution):
        raise NotApplicable("gives a point, and no law")
    return law


def check_draws(subject: Subject) -> None:
    """Draws follow torch's seed; reparameterised ones have the law of the others."""

    def one(probe: Probe) -> None:
        with torch.no_grad():
            law = _law(probe)
            n = 200 if law.event_shape.numel() <= 8 else 1  # of few discrete values, two draws may be equal by chance
            check_seeds(lambda: law.sample((n,)))
            if law.has_rsample:
                check_seeds(lambda: law.rsample((n,)))

    each(one)(subject)


def check_noise(subject: Subject) -> None:
    """A corruption draws afresh each time, by torch's seed, and leaves x as it is."""

    def one(probe: Probe) -> None:
        (x,) = probe.inputs
        kept = x.clone()
        probe.part(x)
        assert torch.equal(x, kept), "changes x in place"
        check_seeds(lambda: probe.part(x.repeat(200, *[1] * (x.ndim - 1))))

    each(one)(subject)


def check_kl(subject: Subject) -> None:
    """KL(q || p) is a divergence: of an encoder's law from the prior beside it, or of a Gaussian from a prior's law."""

    def one(probe: Probe) -> None:
        y = probe.inputs[1:] if subject.kind == "encoder" else probe.inputs
        given = {
            "data": probe.spec,
            "latent": subject.latent,
            "condition": probe.spec.condition_shape if y else None,
        }
        with torch.no_grad():
            if subject.kind == "encoder":
                q, p = probe(), subject.sibling("prior", {"encoder": probe.part}, given)(*y)
            else:
                encoder = shaken(subject.sibling("encoder", {}, given))
                q, p = encoder(examples(probe.spec), *y), probe()
            try:
                rsample_and_kl(q, p, 2)
            except Unsupported as error:
                raise NotApplicable(f"{error} (name what stands beside it: siblings={{...}})") from error
            check_divergence(q, p)

    each(one, few=True)(subject)


def check_constant_parameters(subject: Subject) -> None:
    """`detached()`, where a law has one, is the same law without gradients for its parameters."""

    def one(probe: Probe) -> None:
        law = probe()
        detach = getattr(law, "detached", None)
        if detach is None:
            raise NotApplicable("its law has no `detached`: bounds that hold q's parameters constant refuse it")
        values = probe.values()
        assert values is not None
        constant = detach().log_prob(values)
        assert not constant.requires_grad, "`detached()` leaves gradients for the parameters"
        assert torch.allclose(constant, law.log_prob(values), atol=1e-4), "`detached()` is another law"

    each(one)(subject)


def check_mean(subject: Subject) -> None:
    """`mean`, which codes and reconstructions are, is that of a law: finite, and of an example's shape."""

    def one(probe: Probe) -> None:
        law = _law(probe)
        mean: Tensor = law.mean
        wanted = (*law.batch_shape, *law.event_shape)
        assert mean.shape == wanted, f"a mean of the shape {list(mean.shape)}, and not {list(wanted)}"
        assert mean.isfinite().all(), "a mean that is not finite"

    each(one)(subject)


_LAW: dict[str, Check] = {"shapes": check_shapes, "draws": check_draws, "density": check_density}
_MODULE: dict[str, Check] = {
    "gradients": each(modules.check_gradients),
    "dtypes": each(modules.check_dtypes),
    "devices": each(modules.check_devices),
    "saving": each(modules.check_saving),
    "pickling": each(modules.check_pickling),
    "state": each(modules.check_state),
    "independence": each(modules.check_independence),
    "compile": each(modules.check_compile, few=True),
}
_PRIOR = {name: check for name, check in _MODULE.items() if name != "independence"}

PARTS: dict[str, dict[str, Check]] = {
    "encoder": {
        **_LAW,
        "mean": check_mean,
        "divergence": check_kl,
        "constant_parameters": check_constant_parameters,
        **_MODULE,
    },
    "prior": {**_LAW, "divergence": check_kl, **_PRIOR},
    "decoder": {**_LAW, "mean": check_mean, "leading_axes": each(modules.check_leading_axes), **_MODULE},
    "network": {"shapes": check_shapes, "leading_axes": each(modules.check_leading_axes), **_MODULE},
    "corruption": {
        "shapes": check_shapes,
        "noise": check_noise,
        **{name: _MODULE[name] for name in ("dtypes", "devices", "pickling")},
    },
}
