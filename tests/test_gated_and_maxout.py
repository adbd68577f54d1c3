"""Networks with gates and with maxima: their formulas, shapes, leading axes and conditions."""

from __future__ import annotations

import pytest
import torch

from variata_plugins.networks.gated_mlp import GatedMLP
from variata_plugins.networks.maxout import Maxout

F64 = torch.float64
NETWORKS = {"gated_mlp": GatedMLP, "maxout": Maxout}


@pytest.fixture(params=NETWORKS)
def kind(request):
    return NETWORKS[request.param]


def test_a_gate_multiplies_an_affine_map():
    network = GatedMLP((3,), (2,), hidden=[4]).to(F64)
    x = torch.randn(5, 3, dtype=F64)
    value, gate = (x @ network.layers[0].weight.T + network.layers[0].bias).chunk(2, dim=1)
    torch.testing.assert_close(network(x), network.last(value * gate.sigmoid()))


def test_a_maxout_unit_is_the_greatest_of_its_pieces():
    network = Maxout((3,), (2,), hidden=[4], pieces=3).to(F64)
    x = torch.randn(5, 3, dtype=F64)
    pieces = (x @ network.layers[0].weight.T + network.layers[0].bias).split(4, dim=1)
    torch.testing.assert_close(network(x), network.last(torch.stack(pieces).amax(0)))


def test_one_piece_is_an_affine_network():
    network = Maxout((3,), (2,), hidden=[4, 4], pieces=1).to(F64)
    one, other = torch.randn(2, 5, 3, dtype=F64)
    torch.testing.assert_close(network(0.5 * (one + other)), 0.5 * (network(one) + network(other)))


@pytest.mark.parametrize("conditioning", ["concatenate", "film"])
def test_shapes_leading_axes_and_conditions(kind, conditioning):
    network = kind((1, 6, 6), (2, 3), (4,), hidden=[5, 6], conditioning=conditioning).to(F64)
    x, y = torch.randn(7, 3, 1, 6, 6, dtype=F64), torch.tensor([0, 2, 3])
    with torch.no_grad():
        for film in network.films:
            if film.map is not None:
                film.map.weight.normal_()
    together = network(x, y)
    assert together.shape == (7, 3, 2, 3)
    torch.testing.assert_close(together[4], network(x[4], y))
    assert (network(x[0], y) - network(x[0], y.flip(0))).abs().max() > 1e-6


def test_without_hidden_layers_the_map_is_affine(kind):
    network = kind((3,), (2,), hidden=[]).to(F64)
    x = torch.randn(5, 3, dtype=F64)
    torch.testing.assert_close(network(x), x @ network.last.weight.T + network.last.bias)
