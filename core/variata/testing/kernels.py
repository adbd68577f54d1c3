"""The checks of fused operators (`variata_kernels.Kernel`): numbers and gradients are those of the reference in
float64, at odd sizes and in any layout, by the fallback in plain torch and by Triton where it can run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from variata_kernels import Kernel, registered
from variata_kernels.backend import has_triton, interpreted

from ..errors import PluginError, suggest
from .laws import NotApplicable

_SIZES = (0, 1, 63, 129)
_HALF = {torch.float16: 2**-9, torch.bfloat16: 2**-7}


def kernel_of(name: str) -> Kernel:
    """The operator of that name, with or without its namespace.

    Raises:
        PluginError: there is none.
    """
    known = registered()
    found = [kernel for full, kernel in known.items() if name in (full, full.partition("::")[2])]
    if len(found) != 1:
        names = [full.partition("::")[2] for full in known]
        raise PluginError(f"{'no' if not found else 'more than one'} operator {name}{suggest(name, names)}")
    return found[0]


@contextmanager
def _by(backend: str) -> Iterator[torch.device]:
    if backend == "triton" and not (has_triton() and (interpreted() or torch.cuda.is_available())):
        raise NotApplicable("Triton cannot run here: install it, and set TRITON_INTERPRET=1 or use a GPU")
    before = os.environ.get("VARIATA_KERNELS")
    os.environ["VARIATA_KERNELS"] = backend
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            gpu = backend == "triton" and not interpreted()
            yield torch.device("cuda" if gpu else "cpu")
    finally:
        if before is None:
            del os.environ["VARIATA_KERNELS"]
        else:
            os.environ["VARIATA_KERNELS"] = before


def _agrees(kernel: Kernel, case: str, arguments: tuple[Any, ...], tolerance: float) -> None:
    own = tuple(x.detach().requires_grad_() if _is_real(x) else x for x in arguments)
    wide = tuple(x.detach().double().requires_grad_() if _is_real(x) else x for x in arguments)
    actual, expected = _tuple(kernel.operator(*own)), kernel.reference(*wide)
    for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
        _close(one, other, tolerance, f"output {i}, case {case!r}")
    upstream = [torch.randn_like(out) for out in actual]
    chosen = [i for i, out in enumerate(actual) if out.numel()]
    if not chosen:
        return
    inputs, references = [x for x in own if _is_real(x)], [x for x in wide if _is_real(x)]
    ours = torch.autograd.grad([actual[i] for i in chosen], inputs, [upstream[i] for i in chosen], allow_unused=True)
    theirs = torch.autograd.grad(
        [expected[i] for i in chosen],
        references,
        [upstream[i].to(expected[i].dtype) for i in chosen],
        allow_unused=True,
    )
    for i, (one, other, x) in enumerate(zip(ours, theirs, inputs, strict=True)):
        zero = torch.zeros_like(x)
        _close(
            zero if one is None else one, zero if other is None else other, tolerance, f"gradient {i}, case {case!r}"
        )


def _close(one: Tensor, other: Tensor, tolerance: float, what: str) -> None:
    assert one.shape == other.shape, f"{what}: has the shape {list(one.shape)}, and the reference {list(other.shape)}"
    one, other = one.detach().double(), other.detach().double()
    scale = max(float(other.abs().mean()) if other.numel() else 0.0, 1e-6)
    off = (one - other).abs() - tolerance * (other.abs() + scale)
    worst = float((one - other).abs().max()) if other.numel() else 0.0
    assert not (off > 0).any() and one.isfinite().equal(other.isfinite()), (
        f"{what}: differs by {worst:.3g} from the reference"
    )


def _tuple(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def _is_real(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def numbers(backend: str) -> Callable[[Kernel], None]:
    """The check of numbers and gradients, by plain torch or by Triton."""

    def check(kernel: Kernel) -> None:
        with _by(backend) as device:
            for case, make in kernel.cases.items():
                for size in _SIZES:
                    _agrees(kernel, case, make(size, torch.float32, device), kernel.tolerance)
                for dtype, tolerance in _HALF.items():
                    if dtype in kernel.dtypes:
                        _agrees(kernel, case, make(63, dtype, device), tolerance)

    where = {"torch": "In plain torch", "triton": "In Triton, where it can run"}[backend]
    sizes = "at sizes from nothing to what is no multiple of a block"
    check.__doc__ = f"{where}: numbers and gradients are the reference's, in float32 and half precision, {sizes}."
    return check


def check_layouts(kernel: Kernel) -> None:
    """Inputs that do not lie in memory as they are read: every other column, or expanded."""
    with _by("auto") as device:
        for case, make in kernel.cases.items():
            arguments = make(9, torch.float32, device)
            for layout in (_every_other, _expanded):
                _agrees(kernel, f"{case}, {layout.__name__[1:]}", tuple(layout(x) for x in arguments), kernel.tolerance)


def _every_other(x: Any) -> Any:
    if not _is_real(x) or not x.ndim:
        return x
    apart = x.new_zeros((*x.shape[:-1], 2 * x.shape[-1]))
    apart[..., ::2] = x
    return apart[..., ::2]


def _expanded(x: Any) -> Any:
    return x[:1].expand(x.shape) if _is_real(x) and x.ndim else x


def check_derivative(kernel: Kernel) -> None:
    """Gradients in float64 are those of finite differences."""
    with _by("torch") as device:
        for case, make in kernel.cases.items():
            arguments = make(3, torch.float64, device)
            if arguments and arguments[-1] is True:
                continue  # a gradient that is not that of the value, and is not meant to be
            numbers = [x.requires_grad_() for x in arguments if _is_real(x)]

            def function(*values: Tensor, arguments: tuple[Any, ...] = arguments) -> tuple[Tensor, ...]:
                rest = iter(values)
                outputs = _tuple(kernel.operator(*(next(rest) if _is_real(x) else x for x in arguments)))
                return tuple(out for out in outputs if out.numel())

            try:
                torch.autograd.gradcheck(function, numbers)
            except RuntimeError as error:
                raise AssertionError(f"case {case!r}: {str(error).partition(chr(10))[0]}") from error


def check_registration(kernel: Kernel) -> None:
    """Schema, fake kernel and backward fit together (`torch.library.opcheck`)."""
    with _by("torch") as device:
        for case, make in kernel.cases.items():
            arguments = tuple(x.requires_grad_() if _is_real(x) else x for x in make(5, torch.float32, device))
            try:
                torch.library.opcheck(kernel.operator, arguments)
            except Exception as error:
                raise AssertionError(f"case {case!r}: {str(error)[:300]}") from error


KERNELS: dict[str, Callable[[Kernel], None]] = {
    "fallback": numbers("torch"),
    "triton": numbers("triton"),
    "layouts": check_layouts,
    "derivative": check_derivative,
    "registration": check_registration,
}
