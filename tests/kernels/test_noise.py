"""The noise: Random123's known answers, the statistics of the normals, and that the seed and the place alone count."""

from __future__ import annotations

import math
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from variata_kernels import noise
from variata_kernels.philox import eager

# Random123 1.14, tests/kat_vectors, philox4x32 with ten rounds: counter, key, words.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def signed(high: int, low: int) -> int:
    """Two words as torch holds them, in one int64."""
    value = high << 32 | low
    return value - (1 << 64) if value >> 63 else value


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_the_words_are_those_of_random123(counter, key, expected):
    c0, c1, c2, c3 = words(counter)
    k0, k1 = words(key)
    packed = torch.tensor([[signed(c0, c1)], [signed(c2, c3)]])
    made = eager.rounds(packed, eager.key_schedule(torch.tensor(signed(k1, k0)))).flatten().tolist()
    assert [part & 0xFFFFFFFF for word in made for part in (word >> 32, word)] == words(expected)


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_so_are_tritons(counter, key, expected):
    import triton
    import triton.language as tl

    @triton.jit
    def kernel(out, counter, seed):
        c0, c1 = tl.load(counter + tl.arange(0, 1)), tl.load(counter + 1 + tl.arange(0, 1))
        c2, c3 = tl.load(counter + 2 + tl.arange(0, 1)), tl.load(counter + 3 + tl.arange(0, 1))
        made = tl.philox(tl.load(seed), c0.to(tl.uint32), c1.to(tl.uint32), c2.to(tl.uint32), c3.to(tl.uint32))
        for i in tl.static_range(4):
            tl.store(out + i + tl.arange(0, 1), made[i].to(tl.int64))

    k0, k1 = words(key)
    out = torch.empty(4, dtype=torch.int64)
    kernel[(1,)](out, torch.tensor(words(counter)), torch.tensor(signed(k1, k0)))
    assert [word & 0xFFFFFFFF for word in out.tolist()] == words(expected)


@pytest.mark.parametrize("shape", [(1, 1), (63, 129), (1000, 2), (3, 17, 5), (0, 4), (4, 0)])
def test_every_backend_gives_the_same_noise(shape, device):
    rows, columns = shape[-2:]
    expected = eager.noise(torch.tensor(7), shape[0] if len(shape) == 3 else 1, rows, columns, stream=3)
    actual = noise(7, shape, stream=3, device=device)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.cpu(), expected.view(shape), rtol=0, atol=2e-6)


def test_chunks_make_up_the_whole(device):
    whole = noise(5, (6, 20, 9), stream=1, device=device)
    for sample in (0, 1, 4):
        for row in (0, 3, 13):
            for as_given in (int, lambda x: torch.tensor(x, device=device)):
                offsets = {"row_offset": as_given(row), "sample_offset": as_given(sample)}
                part = noise(5, (2, 7, 9), stream=1, device=device, **offsets)
                assert torch.equal(part, whole[sample : sample + 2, row : row + 7])


def test_a_width_shares_the_columns_of_a_smaller_one(device):
    assert torch.equal(noise(5, (8, 30), device=device)[:, :7], noise(5, (8, 7), device=device))


def test_no_two_places_share_their_numbers():
    draws = [noise(seed, (4, 50, 8), stream=stream) for seed in (1, 2, 1 << 32) for stream in (0, 1, 2)]
    fours = torch.cat(draws).view(-1, 4)
    assert len(fours.unique(dim=0)) == len(fours)


def test_large_draws_are_made_in_pieces_of_the_same_numbers(monkeypatch):
    whole = noise(9, (300, 50))
    monkeypatch.setattr(eager, "CHUNK", 100)
    assert torch.equal(noise(9, (300, 50)), whole)


# 20 000 rows of 50: a million numbers


@pytest.fixture(scope="module")
def numbers() -> Tensor:
    return noise(20261122, (20_000, 50)).double()


def test_the_moments_are_those_of_a_normal(numbers):
    n = numbers.numel()
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0), (6, 15.0)):
        spread = math.sqrt((math.prod(range(2 * power - 1, 0, -2)) - moment**2) / n)
        assert abs(numbers.pow(power).mean().item() - moment) < 5 * spread, power


def test_the_distribution_is_a_normal(numbers):
    """Kolmogorov and Smirnov: the largest distance, times sqrt n, exceeds 1.95 once in a thousand."""
    ordered = numbers.flatten().sort().values
    expected = torch.special.ndtr(ordered)
    observed = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    assert (observed - expected).abs().max().item() * math.sqrt(len(ordered)) < 1.95
    assert 4.4 < ordered[-1] < 6.8
    assert -6.8 < ordered[0] < -4.4


def uncorrelated(x: Tensor, y: Tensor) -> None:
    """Neither the numbers nor their squares."""
    x, y = x.double().flatten(), y.double().flatten()
    for one, other in ((x, y), (x.square() - 1, y.square() - 1), (x, y.square() - 1)):
        correlation = (one * other).mean() / (one.square().mean() * other.square().mean()).sqrt()
        assert correlation.abs().item() * math.sqrt(len(x)) < 5


def test_neighbouring_places_are_uncorrelated(numbers):
    for lag in (1, 2, 3, 4, 8):
        uncorrelated(numbers[:, :-lag], numbers[:, lag:])
        uncorrelated(numbers[:-lag], numbers[lag:])
    for lane in range(4):
        for other in range(lane):
            uncorrelated(numbers[:, lane:48:4], numbers[:, other:48:4])


@pytest.mark.parametrize("change", ["seed", "sample", "stream", "high word"])
def test_neighbouring_draws_are_uncorrelated(numbers, change):
    shape, seed = (20_000, 50), 20261122
    other = {
        "seed": lambda: noise(seed + 1, shape),
        "sample": lambda: noise(seed, shape, sample_offset=1),
        "stream": lambda: noise(seed, shape, stream=1),
        "high word": lambda: noise(seed + (1 << 32), shape),
    }[change]()
    uncorrelated(numbers, other)


def test_a_seed_is_one_integer():
    with pytest.raises(ValueError, match="one int64"):
        noise(torch.tensor([1, 2]), (3, 4))
    with pytest.raises(ValueError, match="one int64"):
        noise(torch.tensor(1.0), (3, 4))
    with pytest.raises(ValueError, match="shape"):
        noise(1, (3,))
