r"""Which implementation runs an operator: `VARIATA_KERNELS=auto|torch|triton`.

auto    Triton for tensors on cuda and xpu where it is installed, else plain torch (the default)
torch   plain torch everywhere
triton  Triton everywhere; on the CPU that needs `TRITON_INTERPRET=1`, set before Triton is imported

and where an operator's noise comes from on the CPU: `VARIATA_NOISE=torch|portable`, torch's generator (the default) or
Philox, as on every other device.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch._library.custom_ops import CustomOpDef
from torch.autograd import forward_ad

ACCELERATORS = ("cuda", "xpu")


class KernelUnavailable(RuntimeError):
    """The implementation that was asked for cannot run here."""


_KERNELS = ("VARIATA_KERNELS", ("auto", "torch", "triton"))
_NOISE = ("VARIATA_NOISE", ("torch", "portable"))

# What `os.environ` wraps. Its own look-up of a name that is not set raises twice, and both are looked up at each call
# of an operator, where that takes longer than an operation on a small tensor.
DEFAULTS = ("auto", "torch")
_ENVIRONMENT: dict[Any, Any] = getattr(os.environ, "_data", {})
_ENCODED = tuple(getattr(os.environ, "encodekey", str)(name) for name, _ in (_KERNELS, _NOISE))


def _chosen(variable: str, choices: tuple[str, ...]) -> str:
    value = os.environ.get(variable) or choices[0]
    if value not in choices:
        raise ValueError(f"{variable}={value!r}: choose one of {', '.join(choices)}")
    return value


def switches() -> tuple[str, str]:
    """`VARIATA_KERNELS` and `VARIATA_NOISE`, or their defaults.

    Raises:
        ValueError: one holds what is no choice.
    """
    kernels, noise = _ENCODED
    if _ENVIRONMENT and kernels not in _ENVIRONMENT and noise not in _ENVIRONMENT:
        return DEFAULTS
    return _chosen(*_KERNELS), _chosen(*_NOISE)


@cache
def has_triton() -> bool:
    """Whether Triton is installed; it is not imported to find out."""
    return find_spec("triton") is not None


def interpreted() -> bool:
    """Whether Triton runs kernels in its interpreter, on the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def uses_triton(device: torch.device) -> bool:
    """Whether an operator on tensors of this device runs in Triton.

    Raises:
        KernelUnavailable: `VARIATA_KERNELS=triton` where it cannot run.
    """
    choice, _ = switches()
    if choice == "auto":
        return device.type in ACCELERATORS and has_triton()
    if choice == "torch":
        return False
    if not has_triton():
        raise KernelUnavailable("VARIATA_KERNELS=triton, but triton is not installed: pip install 'variata[kernels]'")
    if device.type not in ACCELERATORS and not interpreted():
        raise KernelUnavailable(
            f"VARIATA_KERNELS=triton, but Triton has no kernels for {device.type} tensors: set TRITON_INTERPRET=1 "
            "before Triton is imported to interpret them on the CPU, or VARIATA_KERNELS=auto"
        )
    return True


def implementation(package: str, device: torch.device) -> ModuleType:
    """The module of an operator's folder that computes it on this device: `PACKAGE.triton` or `PACKAGE.eager`."""
    return importlib.import_module(f"{package}.triton" if uses_triton(device) else f"{package}.eager")


def operator(name: str, schema: str, package: str, function: str) -> CustomOpDef:
    """`torch.ops.variata.NAME`: on every device, the function of that name in the operator's implementation there. An
    operator of another package says its own namespace, as in `my_package::my_operator`.

    It is opaque to torch.compile and torch.export, which see its fake kernel and its backward. A vmap over it would
    give every slice the same noise, or run the slices one by one: it raises.
    """

    def run(*arguments: Any) -> Any:
        device = next(value.device for value in arguments if isinstance(value, Tensor))
        return getattr(implementation(package, device), function)(*arguments)

    def refuse(info: Any, in_dims: Any, *arguments: Any) -> Any:
        raise NotImplementedError(f"vmap over {full}: give it the batch as rows instead")

    full = name if "::" in name else f"variata::{name}"
    defined = torch.library.custom_op(full, run, mutates_args=(), schema=schema)
    defined.register_vmap(refuse)
    return defined


def unwatched() -> bool:
    """Whether neither a compiler, nor a transform of `torch.func`, nor forward-mode differentiation looks on."""
    return not torch.compiler.is_compiling() and peek_interpreter_stack() is None and forward_ad._current_level < 0


def exporting() -> bool:
    """Whether torch.export traces: then other programs, which have no operators of ours, are to run what it sees."""
    return getattr(torch.compiler, "is_exporting", lambda: False)()  # torch 2.6 has none


def refuse_transforms(name: str, *tensors: Tensor | None) -> None:
    """Forward-mode derivatives of an operator would be zero without a word, and a vmap over it wrong. Not to be called
    while compiling.

    Raises:
        NotImplementedError: inside a transform of `torch.func`, or for a dual number.
    """
    if peek_interpreter_stack() is not None:
        raise NotImplementedError(f"{name} has a backward alone: no vmap, no transform of torch.func")
    if forward_ad._current_level >= 0 and any(
        tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors
    ):
        raise NotImplementedError(f"{name} has no forward-mode derivative: use reverse mode")
