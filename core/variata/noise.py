"""Noise with a place: while a model is evaluated, a draw is a function of (seed, example, sample, layer), so that the
numbers do not depend on how examples and samples are cut into batches, or on the device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch


@dataclass
class Place:
    """Where in the noise of a seed a batch of draws begins.

    Attributes:
        seed: of everything.
        row, sample: the first example and the first sample.
        layers: how many draws were made here, one for each stochastic layer.
        kept: whether all of them could be given their place; distributions that draw for themselves have none.
    """

    seed: int
    row: int = 0
    sample: int = 0
    layers: int = 0
    kept: bool = True

    def next_layer(self) -> int:
        """The number of the layer that draws now."""
        self.layers += 1
        return self.layers - 1


_place: ContextVar[Place | None] = ContextVar("place", default=None)


def current_place() -> Place | None:
    """The place of the draws that are made now; None where they are torch's own, as always in a compiled graph."""
    return None if torch.compiler.is_compiling() else _place.get()


@contextmanager
def placed(seed: int, row: int = 0, sample: int = 0) -> Iterator[Place]:
    """Gives the draws of this block their place. What cannot take one draws from torch's generator, which is seeded
    by the place's own numbers: the same again for the same cut into blocks."""
    place = Place(seed, row, sample)
    token = _place.set(place)
    try:
        with torch.random.fork_rng():
            digest = hashlib.blake2b(f"{seed}/{row}/{sample}".encode(), digest_size=7).digest()
            torch.manual_seed(int.from_bytes(digest, "big"))
            yield place
    finally:
        _place.reset(token)
