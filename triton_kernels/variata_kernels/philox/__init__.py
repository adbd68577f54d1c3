r"""The noise of every operator: Philox4x32-10, a counter-based generator.

    key     = seed                                  64 bits
    counter = (column // 4, row, sample, stream)    32 bits each
    eps     = normal number (column % 4) of the four that the four words of Philox(counter, key) give

so that eps(row, column, sample, stream) depends on the seed alone: not on block sizes, batch, dtype, device or backend.
The words are equal everywhere; the normals differ by the rounding of log, cos and sin in float32.

Salmon, Moraes, Dror and Shaw (2011), Parallel random numbers: as easy as 1, 2, 3, SC'11.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..backend import operator

SCHEMA = (
    "(Tensor seed, SymInt samples, SymInt rows, SymInt columns, Tensor? row_offset, Tensor? sample_offset, int stream)"
    " -> Tensor"
)


noise_operator = operator("noise", SCHEMA, __name__, "noise")


@noise_operator.register_fake
def _(
    seed: Tensor,
    samples: int,
    rows: int,
    columns: int,
    row_offset: Tensor | None,
    sample_offset: Tensor | None,
    stream: int,
) -> Tensor:
    return seed.new_empty((samples, rows, columns), dtype=torch.float32)


def as_seed(seed: int | Tensor, device: torch.device) -> Tensor:
    """A seed as the operators take it: one int64 on the device.

    Raises:
        ValueError: a tensor of another type, or of several numbers.
    """
    if not isinstance(seed, Tensor):
        return torch.tensor(seed, dtype=torch.int64, device=device)
    if seed.dtype != torch.int64 or seed.numel() != 1:
        raise ValueError(f"a seed is one int64, not {seed.dtype} of shape {tuple(seed.shape)}")
    return seed.to(device)


def as_offset(offset: int | Tensor, device: torch.device) -> Tensor | None:
    """An offset as the operators take it: one int64 on the device, so that a captured graph can be given another one by
    writing to it; None for zero."""
    if isinstance(offset, int):
        return None if offset == 0 else torch.full((), offset, dtype=torch.int64, device=device)
    return as_seed(offset, device)


def draw_seed(device: torch.device, *, portable: bool = False) -> Tensor:
    """A fresh seed from torch's generator of the device (no synchronisation; a replayed graph draws another one), or,
    portable, from that of the CPU: then `torch.manual_seed` gives the same noise on every device."""
    if portable:
        return torch.randint(2**63 - 1, ()).to(device)
    return torch.randint(2**63 - 1, (), device=device)


def noise(
    seed: int | Tensor,
    shape: Sequence[int],
    *,
    row_offset: int | Tensor = 0,
    sample_offset: int | Tensor = 0,
    stream: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    r"""The standard normal numbers that the operators draw inside, in float32.

    >>> whole = noise(7, (5, 3))
    >>> bool((noise(7, (2, 3), row_offset=3) == whole[3:]).all())
    True

    Args:
        seed: an int, or a tensor of one int64.
        shape: `[rows, columns]`, or `[samples, rows, columns]`; more axes before the last are one axis of rows where
            there is no samples axis, so give them flat.
        row_offset, sample_offset: the place of the first row and sample, below 2^32: chunks with their offsets make up
            the whole. An int, or a tensor of one int64.
        stream: tells draws apart that share seed, row and column.
        device: of the result; the seed's by default.

    Raises:
        ValueError: another number of axes.
    """
    if len(shape) not in (2, 3):
        raise ValueError(f"noise has the shape [rows, columns] or [samples, rows, columns], not {tuple(shape)}")
    place = torch.device(device) if device is not None else seed.device if isinstance(seed, Tensor) else None
    place = place or torch.get_default_device()
    samples, rows, columns = shape if len(shape) == 3 else (1, *shape)
    eps = noise_operator(
        as_seed(seed, place),
        samples,
        rows,
        columns,
        as_offset(row_offset, place),
        as_offset(sample_offset, place),
        stream,
    )
    return eps if len(shape) == 3 else eps[0]
