r"""Philox4x32-10 in torch operations, and the normals made of its words.

A counter (c0, c1, c2, c3) is held as two 64-bit words, (c0 << 32 | c1) and (c2 << 32 | c3), one in each half of a
tensor `[2, ...]`. A round is then

    product_i = (word_i >> 32) * M_i                    M = (D2511F53, CD9E8D57)
    word_0    = product_1 ^ (word_0 ^ k_0) << 32        word_1 = product_0 ^ (word_1 ^ k_1) << 32

seven operations on preallocated memory for every counter together, and not the forty that four separate words take.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF
# On the CPU, so many counters at a time stay in the cache.
CHUNK = 1 << 14


@cache
def _constants(device: torch.device) -> dict[str, Tensor]:
    """0-d tensors: a Python number is made into one at each operation, which costs as much as the operation."""
    # Made outside of whatever mode the first caller is in: they serve every later one.
    with torch.inference_mode(False):
        return {
            "halves": torch.tensor([0, 32], device=device),
            "32": torch.tensor(32, device=device),
            "low": torch.tensor(LOW, device=device),
            "multipliers": torch.tensor(MULTIPLIERS, device=device)[:, None],
            "weyl": torch.arange(ROUNDS, device=device)[:, None] * torch.tensor(WEYL, device=device),
            "half": torch.tensor(0.5, device=device),
            "2**-32": torch.tensor(2.0**-32, device=device),
            "-2": torch.tensor(-2.0, device=device),
            "turn": torch.tensor(2 * math.pi * 2.0**-32, device=device),
        }


def key_schedule(seed: Tensor) -> Tensor:
    """The keys of all rounds, shifted to where a round needs them, `[rounds, 2, 1]`, from a seed of one int64."""
    constant = _constants(seed.device)
    # What lies above the 32 bits of a key is shifted out at the end.
    return (((seed.reshape(()) >> constant["halves"]) + constant["weyl"]) << constant["32"])[:, :, None]


def rounds(words: Tensor, keys: Tensor) -> Tensor:
    """Ten rounds over counters `[2, n]`, in place."""
    constant = _constants(words.device)
    shift, low, multipliers = constant["32"], constant["low"], constant["multipliers"]
    product, upper = torch.empty_like(words), torch.empty_like(words)
    (word_0, word_1), (product_0, product_1), (upper_0, upper_1) = words, product, upper
    for key in keys.unbind(0):
        torch.bitwise_right_shift(words, shift, out=product)
        torch.bitwise_and(product, low, out=product)
        torch.mul(product, multipliers, out=product)
        torch.bitwise_left_shift(words, shift, out=upper)
        torch.bitwise_xor(upper, key, out=upper)
        torch.bitwise_xor(upper_0, product_1, out=word_0)
        torch.bitwise_xor(upper_1, product_0, out=word_1)
    return words


def _fill(normals: Tensor, counters: Tensor, keys: Tensor) -> None:
    """Normals `[n, 4]` of counters `[2, n]`, by the transform of Box and Muller (1958)."""
    constant = _constants(counters.device)
    words = rounds(counters, keys)
    # In (0, 1): the smallest gives a radius of 6.8. The upper word is the first of a pair.
    radius = ((words >> 32) & LOW).to(torch.float32).add_(constant["half"]).mul_(constant["2**-32"])
    radius.log_().mul_(constant["-2"]).sqrt_()
    angle = words.to(torch.int32).to(torch.float32).mul_(constant["turn"])
    lanes = normals.unflatten(1, (2, 2)).movedim(1, 0)
    torch.mul(radius, angle.cos(), out=lanes[..., 0])
    torch.mul(radius, angle.sin_(), out=lanes[..., 1])


def _counters(
    samples: int,
    rows: int,
    quads: int,
    row_offset: Tensor | None,
    sample_offset: Tensor | None,
    stream: int,
    device: torch.device,
) -> Tensor:
    """The counters of all normals, four to each, `[2, samples * rows * quads]`."""
    row, sample = torch.arange(rows, device=device), torch.arange(samples, device=device)
    if row_offset is not None:
        row = (row + row_offset) & LOW
    if sample_offset is not None:
        sample = (sample + sample_offset) & LOW
    counters = torch.empty((2, samples, rows, quads), dtype=torch.int64, device=device)
    counters[0] = row[:, None] + (torch.arange(quads, device=device) << 32)
    counters[1] = ((sample << 32) + (stream & LOW))[:, None, None]
    return counters.flatten(1)


@lru_cache(maxsize=16)
def _first_counters(samples: int, rows: int, quads: int, stream: int, device: torch.device) -> Tensor:
    """The same without offsets, kept for the few shapes of a training step."""
    with torch.inference_mode(False):
        return _counters(samples, rows, quads, None, None, stream, device)


def noise(
    seed: Tensor,
    samples: int,
    rows: int,
    columns: int,
    row_offset: Tensor | None = None,
    sample_offset: Tensor | None = None,
    stream: int = 0,
) -> Tensor:
    """eps `[samples, rows, columns]` in float32; the arguments are those of `variata_kernels.noise`."""
    quads = -(-columns // 4)
    normals = torch.empty((samples * rows * quads, 4), dtype=torch.float32, device=seed.device)
    if normals.numel():
        if row_offset is None and sample_offset is None and len(normals) <= CHUNK:
            counters = _first_counters(samples, rows, quads, stream, seed.device)
        else:
            counters = _counters(samples, rows, quads, row_offset, sample_offset, stream, seed.device)
        keys = key_schedule(seed)
        step = CHUNK if seed.device.type == "cpu" else len(normals)
        for start in range(0, len(normals), step):
            _fill(normals[start : start + step], counters[:, start : start + step].clone(), keys)
    return normals.view(samples, rows, quads * 4)[..., :columns].contiguous()
