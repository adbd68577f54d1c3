r"""What is known of each operator, in one entry: its tests and its benchmark are generated from it.

An entry is found through the entry-point group `variata_kernels`, so that plugins register operators of their own:

    [project.entry-points.variata_kernels]
    my_operator = "my_package.my_operator.entry:ENTRY"

The tests in `tests/kernels` and `python -m variata_kernels.benchmark` then treat it like the built-in ones. Reading the
registry imports no Triton.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import Tensor
from torch._library.custom_ops import CustomOpDef

GROUP = "variata_kernels"
BUILT_IN = ("reparam_kl", "log_matmul_exp", "log_density_matrix")

Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Kernel:
    r"""An operator, and what it is held to.

    Attributes:
        operator: the custom operator; it carries the schema, the fake kernel and the backward.
        package: its folder; the modules `eager` and `triton` in it hold the implementations.
        reference: the formula, which autograd differentiates. Takes the operator's arguments, with float64 tensors for
            floating ones, and gives its outputs.
        cases: name -> `make(size, dtype, device)`, the operator's arguments for a test of that size.
        formula: what a user would write without the operator, in the inputs' own types: what it is compared with.
        problems: the benchmark's problems, name -> sizes.
        problem: `make(sizes, dtype, device)`, the arguments of one.
        bytes_moved: `count(sizes, itemsize)`: the bytes that forward and backward have to move, inputs read once and
            outputs written once.
        tolerance: relative error that float32 outputs and gradients may have.
    """

    operator: CustomOpDef
    package: str
    reference: Callable[..., tuple[Tensor, ...]]
    cases: Mapping[str, Callable[[int, torch.dtype, torch.device], Arguments]]
    formula: Callable[..., tuple[Tensor, ...]]
    problems: Mapping[str, tuple[int, ...]]
    problem: Callable[[tuple[int, ...], torch.dtype, torch.device], Arguments]
    bytes_moved: Callable[[tuple[int, ...], int], tuple[int, int]]
    tolerance: float = 2e-5
    dtypes: tuple[torch.dtype, ...] = field(default=(torch.float32, torch.float16, torch.bfloat16))

    @property
    def name(self) -> str:
        """`namespace::name`, as torch has registered it."""
        return self.operator._qualname

    @property
    def schema(self) -> str:
        """The operator's arguments and results."""
        return str(self.operator._opoverload._schema)


def registered() -> dict[str, Kernel]:
    """Every operator by name: the built-in ones, and those of installed plugins.

    Raises:
        TypeError: an entry point that names something else.
        ValueError: a name that is registered twice.
    """
    entries = [import_module(f".{folder}.entry", __package__).ENTRY for folder in BUILT_IN]
    entries += [point.load() for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)]
    found: dict[str, Kernel] = {}
    for entry in entries:
        if not isinstance(entry, Kernel):
            raise TypeError(f"the entry points of {GROUP} name instances of Kernel, not {type(entry).__name__}")
        if entry.name in found:
            raise ValueError(f"the operator {entry.name} is registered twice")
        found[entry.name] = entry
    return found
