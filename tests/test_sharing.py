"""Sizes that parents fill in, and siblings that share a module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

import variata
from support import SMALL, problems
from variata import (
    Component,
    DataSpec,
    DiagonalNormal,
    Encoder,
    Loss,
    Model,
    Network,
    Prior,
    Shared,
)
from variata.checkpoint import own_state

# Shapes


def test_sizes_of_nested_networks_are_filled_in_and_written_back():
    spec = variata.build("cvae", SMALL).spec
    assert spec.built is not None
    assert spec.built["data"]["shape"] == [1, 8, 8]
    assert spec.built["data"]["classes"] == 10
    shapes = spec.built["shapes"]
    assert shapes["model.encoder"] == {"latent": 2, "condition": [10]}
    assert shapes["model.encoder.network"] == {"input": [1, 8, 8], "output": [4], "condition": [10]}
    assert shapes["model.decoder.network"] == {"input": [2], "output": [1, 8, 8], "condition": [10]}


def test_sizes_follow_the_data_and_are_never_written_by_the_user():
    spec = variata.build("gaussian_vae").spec
    assert spec.built is not None
    assert spec.built["shapes"]["model.encoder.network"]["input"] == [2]
    assert problems("vae", ["model.encoder.network.input=[3]"]) == [
        "command line model.encoder.network.input: unknown option: it is filled in, remove it"
    ]


# Sharing


class Borrowing(Prior):
    """A prior made of what the encoder beside it says of learned inputs."""

    def __init__(self, data: DataSpec, *, encoder: Shared[Encoder], inputs: PositiveInt = 3) -> None:
        super().__init__()
        self.encoder = encoder
        self.inputs = nn.Parameter(torch.rand(inputs, *data.shape))

    def forward(self, y: Tensor | None = None) -> DiagonalNormal:
        q = self.encoder(self.inputs)
        return DiagonalNormal(q.mean.mean(0), q.logvar.mean(0))


BORROWING = Component("prior", "borrowing", Borrowing)


@pytest.mark.usefixtures("without_pictures")
def test_a_shared_sibling_is_one_module_saved_once_and_tied_again_on_load(tmp_path):
    with variata.plugin([BORROWING]):
        run = variata.train("vae", {**SMALL, "model.prior": "borrowing"}, run=tmp_path / "run")
        assert run.model.prior.encoder is run.model.encoder
        names = list(own_state(run.model))
        assert "prior.inputs" in names
        assert not any(name.startswith("prior.encoder") for name in names)
        again = variata.load(tmp_path / "run").model
        assert again.prior.encoder is again.encoder
        assert torch.equal(again.prior.inputs, run.model.prior.inputs)
        assert torch.equal(again.encoder.network.last.weight, run.model.encoder.network.last.weight)
        assert run.spec.plain()["model"]["prior"] == {"use": "borrowing", "inputs": 3}


def test_a_live_sibling_is_shared_as_well():
    encoder = variata.build("vae", SMALL).model.encoder
    with variata.plugin([BORROWING]):
        assert (
            variata.build("vae", {**SMALL, "model.prior": "borrowing"}, encoder=encoder).model.prior.encoder is encoder
        )


def test_what_is_shared_is_not_written_in_yaml():
    with variata.plugin([BORROWING]):
        assert problems("vae", ["model.prior={use: borrowing, encoder: gaussian}"]) == [
            "command line model.prior.encoder: unknown option: it is filled in, remove it"
        ]


class Part(Network):
    """A network without sizes, for models that are made of parts which share each other."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        return x


class UsesFirst(Part):
    def __init__(self, *, first: Shared[Network]) -> None:
        super().__init__()
        self.first = first


class UsesSecond(Part):
    def __init__(self, *, second: Shared[Network]) -> None:
        super().__init__()
        self.second = second


class UsesThird(Part):
    def __init__(self, *, third: Shared[Network]) -> None:
        super().__init__()
        self.third = third


class Three(Model):
    def __init__(self, data: DataSpec, *, first: Network, second: Network, third: Network | None = None) -> None:
        super().__init__(data)
        self.first, self.second, self.third = first, second, third


class Nothing(Loss):
    def phases(self, model: Any) -> list[Any]:
        return []


@pytest.fixture
def three() -> Iterator[None]:
    """A model of up to three parts, with parts that share one of their siblings."""
    parts = {"part": Part, "uses_first": UsesFirst, "uses_second": UsesSecond, "uses_third": UsesThird}
    components = [Component("network", name, part) for name, part in parts.items()]
    with variata.plugin([*components, Component("model", "three", Three), Component("loss", "nothing", Nothing)]):
        yield


def of_three(**parts: Any) -> dict[str, Any]:
    return {"data": "digits", "model": {"use": "three", **parts}, "loss": "nothing"}


@pytest.mark.usefixtures("three")
def test_siblings_are_built_before_what_shares_them_whatever_their_order():
    model = variata.build(of_three(first="uses_second", second="uses_third", third="part")).model
    assert model.first.second is model.second
    assert model.second.third is model.third


@pytest.mark.usefixtures("three")
def test_a_circle_of_sharing_is_one_problem():
    assert problems(of_three(first="uses_second", second="uses_first")) == [
        "python model.first: shares second, which shares first in turn"
    ]
    (problem,) = problems(of_three(first="uses_second", second="uses_third", third="uses_first"))
    assert "which shares" in problem
    assert problem.endswith("in turn")


@pytest.mark.usefixtures("three")
def test_a_sibling_that_is_not_there_is_a_problem():
    (problem,) = problems(of_three(first="part", second="uses_third"))
    assert problem.startswith("python model.second: shares third")
    class_of_loss = Component("loss", "lonely", type("Lonely", (Nothing,), {"__init__": _with_shared_encoder}))
    with variata.plugin([class_of_loss]):
        assert problems("vae", ["loss=lonely"]) == [
            "command line loss: shares the encoder beside it, and there is none"
        ]


def _with_shared_encoder(self: Any, *, encoder: Shared[Encoder]) -> None:
    nn.Module.__init__(self)
