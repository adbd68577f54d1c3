"""What holds for every operator of the registry, on every backend: tests made of its entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from variata_kernels.backend import uses_triton
from variata_kernels.registry import Kernel, registered

KERNELS = registered()
CASES = [
    pytest.param(kernel, make, id=f"{name.partition('::')[2]}-{case}")
    for name, kernel in KERNELS.items()
    for case, make in kernel.cases.items()
]
FIRST_CASES = [
    pytest.param(kernel, next(iter(kernel.cases.values())), id=name.partition("::")[2])
    for name, kernel in KERNELS.items()
]
# One unit in the last place of float16 and of bfloat16: the interpreter truncates where a device rounds.
TOLERANCE = {torch.float16: 2**-9, torch.bfloat16: 2**-7}

Make = Callable[[int, torch.dtype, torch.device], tuple[Any, ...]]


def is_number(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def outputs_of(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def with_gradients(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.detach().requires_grad_() if is_number(x) else x for x in arguments)


def widened(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.detach().double().requires_grad_() if is_number(x) else x for x in arguments)


def differentiable(outputs: tuple[Tensor, ...]) -> Iterator[tuple[int, Tensor]]:
    """The outputs that hold something: an empty one stands for what was not asked for."""
    return ((i, out) for i, out in enumerate(outputs) if out.numel())


def gradients(
    outputs: tuple[Tensor, ...], upstream: dict[int, Tensor], arguments: tuple[Any, ...], used: set[int]
) -> tuple[Tensor, ...]:
    chosen = [(out, upstream[i].to(out.dtype)) for i, out in differentiable(outputs) if i in used]
    inputs = [x for x in arguments if is_number(x)]
    return torch.autograd.grad([out for out, _ in chosen], inputs, [grad for _, grad in chosen], allow_unused=True)


def close(actual: Tensor | None, expected: Tensor | None, tolerance: float) -> None:
    """Within the tolerance, relative to the element where it is larger than the mean magnitude, else to that."""
    if actual is None or expected is None:
        # A gradient that does not exist is one that is zero.
        assert all(x is None or not x.any() for x in (actual, expected))
        return
    assert actual.shape == expected.shape
    scale = expected.abs().mean().item() if expected.numel() else 0.0
    torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=tolerance * max(scale, 1e-6))


def agrees(kernel: Kernel, arguments: tuple[Any, ...], tolerance: float, used: set[int] | None = None) -> None:
    """Outputs, and all gradients through the outputs that are used, agree with the reference in float64."""
    wide = widened(arguments)
    arguments = tuple(x.requires_grad_() if is_number(x) and x.is_leaf else x for x in arguments)
    actual, expected = outputs_of(kernel.operator(*arguments)), kernel.reference(*wide)
    for one, other in zip(actual, expected, strict=True):
        close(one.detach(), other.detach(), tolerance)
    # What stands upstream is rounded to the output's type, alike for both.
    upstream = {i: torch.randn_like(out) for i, out in differentiable(actual)}
    used = set(upstream) if used is None else used & set(upstream)
    if used:
        ours = gradients(actual, upstream, arguments, used)
        theirs = gradients(expected, {i: x.double() for i, x in upstream.items()}, wide, used)
        for one, other in zip(ours, theirs, strict=True):
            close(one, other, tolerance)


@pytest.mark.parametrize("size", [1, 63, 129, 1000])
@pytest.mark.parametrize(("kernel", "make"), CASES)
def test_outputs_and_gradients_in_float32(kernel: Kernel, make: Make, size, device, poisoned):
    agrees(kernel, make(size, torch.float32, device), kernel.tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("kernel", "make"), CASES)
def test_outputs_and_gradients_in_half_precision(kernel: Kernel, make: Make, dtype, device, poisoned):
    if dtype in kernel.dtypes:
        agrees(kernel, make(63, dtype, device), TOLERANCE[dtype])


@pytest.mark.parametrize(("kernel", "make"), CASES)
def test_nothing_to_do_is_done(kernel: Kernel, make: Make, device, poisoned):
    agrees(kernel, make(0, torch.float32, device), kernel.tolerance)


def layouts(x: Tensor) -> dict[str, Tensor]:
    """The same numbers in other memory."""
    apart = x.new_zeros((*x.shape[:-1], 2 * x.shape[-1]))
    apart[..., ::2] = x
    beside = x.new_zeros((*x.shape[:-1], x.shape[-1] + 3))
    beside[..., 1:-2] = x
    return {
        "every other column": apart[..., ::2],
        "part of a wider row": beside[..., 1:-2],
        "transposed": x.mT.contiguous().mT,
        "one row, expanded": x[..., :1, :].expand(x.shape),
    }


@pytest.mark.parametrize("layout", ["every other column", "part of a wider row", "transposed", "one row, expanded"])
@pytest.mark.parametrize(("kernel", "make"), CASES)
def test_any_layout_of_the_inputs(kernel: Kernel, make: Make, layout, device, poisoned):
    arguments = make(9, torch.float32, device)
    agrees(kernel, tuple(layouts(x)[layout] if is_number(x) else x for x in arguments), kernel.tolerance)


@pytest.mark.parametrize("used", [0, 1, 2])
@pytest.mark.parametrize(("kernel", "make"), CASES)
def test_outputs_that_are_not_used(kernel: Kernel, make: Make, used, device, poisoned):
    agrees(kernel, make(9, torch.float32, device), kernel.tolerance, used={used})


@pytest.mark.parametrize(("kernel", "make"), CASES)
def test_gradients_by_finite_differences(kernel: Kernel, make: Make, device):
    arguments = with_gradients(make(3, torch.float64, device))

    def function(*numbers: Tensor) -> tuple[Tensor, ...]:
        rest = iter(numbers)
        outputs = outputs_of(kernel.operator(*(next(rest) if is_number(x) else x for x in arguments)))
        return tuple(out for out in outputs if out.numel())

    # Where q's parameters are constant in log q, the gradient is not that of the value, and is not meant to be.
    # The interpreter takes long for each of a full check's evaluations: there, along one random direction.
    if arguments[-1] is not True:
        fast = uses_triton(device)
        assert torch.autograd.gradcheck(function, [x for x in arguments if is_number(x)], fast_mode=fast)


@pytest.mark.parametrize(("kernel", "make"), CASES)
def test_torch_finds_nothing_wrong_with_the_operator(kernel: Kernel, make: Make, device):
    arguments = with_gradients(make(5, torch.float32, device))
    torch.library.opcheck(kernel.operator, arguments)


@pytest.mark.parametrize(("kernel", "make"), FIRST_CASES)
def test_only_inputs_and_sums_are_kept_for_the_backward(kernel: Kernel, make: Make, device):
    """Nothing of the size of what the operator avoids: the inputs themselves, and at most the outputs."""
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        arguments = with_gradients(make(129, torch.float32, device))
        outputs = outputs_of(kernel.operator(*arguments))
    inputs = {x.untyped_storage().data_ptr() for x in arguments if isinstance(x, Tensor)}
    others = [x for x in kept if x.untyped_storage().data_ptr() not in inputs]
    assert sum(x.numel() for x in others) <= sum(out.numel() for out in outputs)
    if kernel.name == "variata::reparam_kl":
        assert not others
        assert sum(x.nbytes for x in kept) == arguments[0].nbytes + 8


@pytest.mark.parametrize(("kernel", "make"), FIRST_CASES)
def test_a_second_derivative_raises(kernel: Kernel, make: Make, device):
    arguments = with_gradients(make(3, torch.float32, device))
    first = outputs_of(kernel.operator(*arguments))[0]
    (grad,) = torch.autograd.grad(first.square().sum(), [arguments[0]], create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        torch.autograd.grad(grad.square().sum(), [arguments[0]])


@pytest.mark.parametrize(("kernel", "make"), FIRST_CASES)
def test_vmap_over_the_operator_raises(kernel: Kernel, make: Make, device):
    arguments = make(3, torch.float32, device)
    axes = tuple(0 if is_number(x) else None for x in arguments)
    stacked = tuple(torch.stack([x, x]) if is_number(x) else x for x in arguments)
    with pytest.raises(NotImplementedError, match="vmap over variata::"):
        torch.vmap(lambda *numbers: kernel.operator(*numbers), in_dims=axes)(*stacked)


def test_the_registry_names_a_schema():
    assert {"variata::reparam_kl", "variata::log_matmul_exp", "variata::log_density_matrix"} <= set(KERNELS)
    for name, kernel in KERNELS.items():
        assert kernel.schema.startswith(f"{name}(Tensor")
