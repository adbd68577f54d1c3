"""Several processes of one evaluation: each takes its share of the examples, and all of them get what all have found,
in the order of the examples. On one process nothing is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .processes import world


def own_rows(n: int, block: int) -> range:
    """The rows of n that are this process's own: whole blocks, and contiguous."""
    here = world()
    rank, size = here.rank, here.size
    blocks = -(-n // block)
    start, stop = (-(-blocks * r // size) * block for r in (rank, rank + 1))  # the first process is never without
    return range(min(start, n), min(stop, n))


def gather(columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The rows of every process, one after the other, on each of them.

    Args:
        columns: by name, `[rows, *any]`, as many rows as there are here; a process without rows may give none at all.
    """
    here = world()
    if here.size == 1:
        return dict(columns)
    from torch import distributed

    said = {name: (rows.dtype, rows.shape[1:]) for name, rows in columns.items()}
    known = here.shared(said if here.first else {})
    device = torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
    found: dict[str, Tensor] = {}
    for name, (dtype, shape) in known.items():
        own = columns[name] if name in columns else torch.empty(0, *shape)
        own = own.to(device, torch.float64)  # which every backend sends
        found[name] = here.rows(own)[0].to("cpu", dtype)
    return found


def in_blocks(
    n: int, block: int, seed: int, name: str, work: Callable[[slice], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Columns of n rows, by fixed blocks, each process a share of them.

    Args:
        block: rows at a time. What is drawn depends on it, and neither on the number of processes nor on anything drawn
            before.
        seed, name: of the draws: torch's generator is seeded by both and by a block's first row, and is afterwards
            what it was.
        work: the rows of a block -> its columns, `[rows, *any]` each by name.
    """
    own = own_rows(n, block)
    parts: dict[str, list[Tensor]] = {}
    for start in range(own.start, own.stop, block):
        with torch.random.fork_rng():
            digest = hashlib.blake2b(f"{seed}/{name}/{start}".encode(), digest_size=7).digest()
            torch.manual_seed(int.from_bytes(digest, "big"))
            for key, rows in work(slice(start, min(start + block, n))).items():
                parts.setdefault(key, []).append(rows)
    return gather({key: torch.cat(rows) for key, rows in parts.items()})
