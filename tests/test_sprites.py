"""Sprites are rendered as their factors say, and the same every time."""

from __future__ import annotations

import itertools

import pytest
import torch

from variata import ConfigError
from variata_plugins.datasets.sprites import Sprites


def rendered(data: Sprites, *values: list[int]) -> torch.Tensor:
    return data.render(torch.tensor(values)).x[:, 0]


def test_every_split_is_rendered_from_factors_that_differ():
    data = Sprites(size=16, scales=2, orientations=2, positions=4)
    splits = {name: data.split(name) for name in ("train", "validation", "test")}
    rows = torch.cat([split.x for split in splits.values()])
    assert len(rows) == 3 * 2 * 2 * 4 * 4 == len(torch.unique(rows, dim=0))
    batch = splits["test"].batch(torch.tensor([3, 1]))
    again = data.render(splits["test"].x[[3, 1]])
    assert torch.equal(batch.x, again.x)
    assert torch.equal(batch.y, again.y)
    assert batch.x.shape == (2, *data.spec.shape) == (2, 1, 16, 16)
    assert set(batch.x.unique().tolist()) == {0.0, 1.0}


def test_any_size_any_count_and_another_draw():
    for size in (8, 33):
        assert Sprites(size=size, examples=50).split("train").batch(torch.arange(3)).x.shape == (3, 1, size, size)
    first, second = (Sprites(examples=100, split_seed=seed).split("train").x for seed in (0, 1))
    assert torch.equal(first, Sprites(examples=100).split("train").x)
    assert not torch.equal(first, second)
    with pytest.raises(ConfigError, match=r"there are 12 combinations \(got 13\): ask for fewer, or null for all"):
        Sprites(scales=1, orientations=1, positions=2, examples=13)


def test_the_square_is_as_large_and_where_its_factors_say():
    data = Sprites(size=200, scales=2, positions=3)
    for scale, position in itertools.product(range(2), range(3)):
        (image,) = rendered(data, [0, scale, 0, position, 2])
        rows, columns = image.nonzero().T
        side = 200 * 2 * (0.07, 0.14)[scale]
        assert len(columns.unique()) == len(rows.unique()) == pytest.approx(side, abs=1)
        assert float(columns.float().mean() + 0.5) / 200 == pytest.approx((0.22, 0.5, 0.78)[position], abs=0.005)
        assert float(rows.float().mean() + 0.5) / 200 == pytest.approx(0.78, abs=0.005)


def test_shapes_have_their_areas_whatever_the_orientation():
    data = Sprites(size=256)
    radius = 0.14 * 256
    for shape, area in ((0, 4.0), (1, torch.pi * 1.25 * 0.7)):
        images = rendered(data, *([shape, 5, turn, 7, 7] for turn in range(10)))
        torch.testing.assert_close(images.sum((1, 2)), torch.full((10,), area * radius**2), rtol=0.01, atol=0)
    hearts = rendered(data, *([2, 5, turn, 7, 7] for turn in range(10))).sum((1, 2))
    torch.testing.assert_close(hearts, hearts[:1].expand(10), rtol=0.01, atol=0)


def test_no_two_shapes_scales_and_orientations_look_alike_and_none_leaves_the_square():
    data = Sprites()
    combinations = [[*c, 7, 7] for c in itertools.product(range(3), range(6), range(10))]
    images = rendered(data, *combinations).flatten(1)
    assert len(torch.unique(images, dim=0)) == len(combinations) == 180
    corners = rendered(
        data, *([s, 5, o, a, b] for s, o, a, b in itertools.product(range(3), range(10), (0, 15), (0, 15)))
    )
    edges = corners[:, 0], corners[:, -1], corners[:, :, 0], corners[:, :, -1]
    assert not any(edge.any() for edge in edges)
