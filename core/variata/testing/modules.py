"""Checks of any part that is a module and has one output: gradients, types, devices, saving, pickling, compiling, and
that an example's output depends on that example alone."""

from __future__ import annotations

import pickle
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..checkpoint import load_weights, own_state, save_weights
from ..interfaces import Network
from .laws import NotApplicable
from .subject import Probe, members


def check_gradients(probe: Probe) -> None:
    """Gradients reach every parameter."""
    out = probe()
    wanted = dict(members(probe.part))
    if not wanted:
        return
    if isinstance(out, Distribution):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            drawn = out.rsample() if out.has_rsample else out.sample()
        score = out.log_prob(drawn.detach())
        out = score * _directions(score) + (drawn * _directions(drawn)).flatten(score.ndim).sum(-1)
    gradients = torch.autograd.grad((out * _directions(out)).sum(), list(wanted.values()), allow_unused=True)
    for (name, _), gradient in zip(wanted.items(), gradients, strict=True):
        assert gradient is not None and gradient.count_nonzero(), f"no gradient reaches the parameter {name}"
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"


def check_dtypes(probe: Probe) -> None:
    """float64 in, float64 out; under bfloat16 autocast everything is finite."""
    wide = tuple(x.double() if x.is_floating_point() else x for x in probe.inputs)
    part = probe.again().double()
    out = probe(part, wide)
    with torch.no_grad():
        seen = out.sample() if isinstance(out, Distribution) else out
    assert seen.dtype == torch.float64, f"a float64 part gives {seen.dtype}: make tensors of the input's type"
    with torch.autocast("cpu", torch.bfloat16):
        out = probe()
        seen = out.log_prob(out.sample()) if isinstance(out, Distribution) else out
    assert seen.isfinite().all(), "not finite under bfloat16 autocast"


def check_devices(probe: Probe) -> None:
    """Everything is made where the inputs are: on torch's device of shapes alone, and on a GPU where there is one."""
    for device in ["meta", *(["cuda"] if torch.cuda.is_available() else [])]:
        part = probe.again().to(device)
        try:
            out = part(*(x.to(device) for x in probe.inputs))
            seen = out.rsample() if isinstance(out, Distribution) and out.has_rsample else out
            seen = seen.sample() if isinstance(seen, Distribution) else seen
        except (RuntimeError, NotImplementedError) as error:
            said = str(error)
            elsewhere = "device" in said and "cpu" in said and device in said
            assert not elsewhere, f"makes a tensor on the CPU while its inputs are on another device ({said[:120]})"
            if device == "meta":
                continue  # what looks at values cannot run without any
            raise
        assert seen.device.type == device, "gives a tensor on the CPU while its inputs are on another device"


def check_saving(probe: Probe) -> None:
    """Saved and loaded, a part built anew gives equal numbers."""
    values, part = probe.values(), probe.again()
    with tempfile.TemporaryDirectory() as folder:
        save_weights(probe.part, Path(folder) / "part.safetensors")
        load_weights(part, Path(folder) / "part.safetensors")
    part.train(probe.part.training)
    same = torch.equal(probe.observed(values), probe.observed(values, part))
    assert same, "built anew and loaded, gives other numbers: what it needs is neither a parameter nor a buffer"


def check_pickling(probe: Probe) -> None:
    """It can be sent to another process."""
    values = probe.values()
    try:
        part = pickle.loads(pickle.dumps(probe.part))
    except Exception as error:
        raise AssertionError(f"cannot be pickled, as for another process: {type(error).__name__}: {error}") from error
    assert torch.equal(probe.observed(values), probe.observed(values, part)), "pickled, gives other numbers"


def check_state(probe: Probe) -> None:
    """In evaluation mode nothing is kept from one call to the next: neither in buffers nor anywhere else."""
    part, values = probe.part.eval(), probe.values()
    before = {name: value.clone() for name, value in own_state(part).items()}
    first = probe.observed(values)
    probe(inputs=tuple(_others(x) for x in probe.inputs))
    again = probe.observed(values)
    part.train()
    assert torch.equal(first, again), "the same input gives another output after another input: it keeps state"
    changed = [name for name, value in own_state(part).items() if not torch.equal(value, before[name])]
    assert not changed, f"a call changes {', '.join(changed)} in evaluation mode"


def check_independence(probe: Probe) -> None:
    """What an example gives does not depend on the others of its batch, unless a network says so (`couples_batch`)."""
    couples = any(isinstance(module, Network) and module.couples_batch for module in probe.part.modules())
    for training in (False, *(() if couples else (True,))):
        part, values = probe.part.train(training), probe.values()
        whole = probe.observed(values)
        alone = probe.observed(
            None if values is None else values[:1] if len(values) == len(probe.inputs[0]) else values,
            inputs=tuple(x[:1] for x in probe.inputs),
        )
        part.train()
        assert torch.allclose(alone, whole[:1], atol=1e-4, rtol=1e-4), (
            "what an example gives depends on the others of its batch: it leaks across the batch"
        )


def check_compile(probe: Probe) -> None:
    """torch.compile sees the same numbers (traced by its front end; no code is generated)."""
    values, part = probe.values(), probe.again()
    part.load_state_dict(probe.part.state_dict())
    part.train(probe.part.training)
    import torch._dynamo  # it may turn torch's checks of distributions off, for good
    from torch._dynamo.exc import Unsupported

    checked = Distribution._validate_args
    torch._dynamo.reset()

    def density(*inputs: Tensor) -> Tensor:
        out = part(*inputs)
        if isinstance(out, Distribution):
            return out.mean if values is None else out.log_prob(values)
        return out

    try:
        with warnings.catch_warnings():  # of torch's own front end, which the part can do nothing about
            warnings.simplefilter("ignore")
            found = torch.compile(density, backend="eager")(*probe.inputs)
    except Unsupported as error:
        raise NotApplicable(f"torch.compile cannot trace it: {str(error)[:100]}") from error
    finally:
        torch._dynamo.reset()
        Distribution.set_default_validate_args(checked)
    with torch.random.fork_rng(devices=[]):
        assert torch.allclose(found, density(*probe.inputs), atol=1e-5), "compiled, gives other numbers"


def check_leading_axes(probe: Probe) -> None:
    """Any leading axes give what the rows give one by one."""
    inputs = probe.inputs
    stacked = torch.stack([inputs[0], _others(inputs[0])])
    lead = (stacked, *inputs[1:])
    rows = (stacked.flatten(0, 1), *(torch.cat([y, y]) for y in inputs[1:]))
    values = probe.values()
    if values is None:
        one, other = probe(inputs=lead), probe(inputs=rows)
    else:
        both = torch.stack([values, values])
        one = probe(inputs=lead).log_prob(both)
        other = probe(inputs=rows).log_prob(both.flatten(0, 1))
    wanted = (2, len(inputs[0]), *other.shape[1:])
    assert one.shape == wanted, f"two leading axes give the shape {list(one.shape)}, and not {list(wanted)}"
    assert torch.allclose(one.flatten(0, 1), other, atol=1e-4, rtol=1e-4), "leading axes change the numbers"


def _others(x: Tensor) -> Tensor:
    """Another batch of the same kind."""
    return x[-1:].expand_as(x)


def _directions(like: Tensor) -> Tensor:
    """Fixed random weights, so that no gradient cancels by symmetry."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(3)).to(like)
