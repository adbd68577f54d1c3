"""What a constructor may ask for, and what is said of one that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from pydantic import PositiveInt
from torch import nn

import variata
from support import assert_reads_back, problems
from variata import (
    Component,
    DataSpec,
    Default,
    Factory,
    Loss,
    Model,
    Network,
    OnePhaseLoss,
    Scheduled,
    default,
    make,
    signature_of,
)
from variata.config import load_spec
from variata_plugins.networks.mlp import MLP
from variata_plugins.optimization.schedules import Linear


class Nothing(Loss):
    def phases(self, model: Any) -> list[Any]:
        return []


# What else a constructor may ask for


@dataclass(kw_only=True)
class Sizes:
    """A section of options."""

    width: PositiveInt = 4
    depth: PositiveInt


class Odd(Model):
    """A model with one option of every form."""

    def __init__(
        self,
        data: DataSpec,
        *,
        sizes: Sizes,
        more: Sizes | None = None,
        given: Sizes = Sizes(width=9, depth=9),  # noqa: B008 -- a default that nobody changes
        layers: list[Factory[Network]] = (),  # pyright: ignore[reportArgumentType]
        spare: Factory[Network] | None = None,
        from_: float = 0.5,
        weight: Scheduled = 1.0,
        mode: Literal["fast", "slow"] = "fast",
    ) -> None:
        super().__init__(data)
        self.layers = nn.ModuleList(make(layer, input=data.shape, output=(2,), condition=None) for layer in layers)
        self.received = {"sizes": sizes, "more": more, "given": given, "spare": spare, "from": from_, "weight": weight}


@pytest.fixture
def odd() -> Iterator[None]:
    with variata.plugin([Component("model", "odd", Odd), Component("loss", "nothing", Nothing)]):
        yield


def of_odd(**options: Any) -> dict[str, Any]:
    return {"data": "digits", "model": {"use": "odd", "sizes": {"depth": 2}, **options}, "loss": "nothing"}


@pytest.mark.usefixtures("odd")
def test_sections_are_checked_and_filled_in_like_the_rest(tmp_path):
    assembly = variata.build(of_odd(more={"depth": 1, "width": 2}))
    received = assembly.model.received
    assert received["sizes"] == Sizes(width=4, depth=2)
    assert received["more"] == Sizes(width=2, depth=1)
    assert received["given"] == Sizes(width=9, depth=9)
    assert variata.build(of_odd()).model.received["more"] is None
    assert_reads_back(assembly.spec, tmp_path / "spec.yaml")
    wrong = problems(of_odd(sizes={"widht": 3}, more={"depth": 0}))
    assert wrong == [
        "python model.sizes.widht: unknown option, did you mean width?",
        "python model.sizes.depth: a required option is missing",
        "python model.more.depth: must be greater than 0 (got 0)",
    ]


@pytest.mark.usefixtures("odd")
def test_a_list_of_components_is_built_in_its_order(tmp_path):
    assembly = variata.build(of_odd(layers=[{"use": "mlp", "hidden": [3]}, "mlp"]))
    first, second = assembly.model.layers
    assert (len(first.layers), len(second.layers)) == (1, 2)
    assert assembly.spec.built is not None
    assert assembly.spec.built["shapes"]["model.layers[1]"]["output"] == [2]
    assert_reads_back(assembly.spec, tmp_path / "spec.yaml")
    assert problems(of_odd(layers=["mlp", {"use": "mlp", "hiden": [3]}])) == [
        "python model.layers[1].hiden: unknown option, did you mean hidden?"
    ]
    assert problems(of_odd(layers="mlp")) == ["python model.layers: must be a list, each a network (got 'mlp')"]


@pytest.mark.usefixtures("odd")
def test_a_factory_is_handed_over_unbuilt_and_null_stands_for_none():
    received = variata.build(of_odd(spare={"use": "mlp", "hidden": [5]})).model.received
    network = received["spare"](input=(3,), output=(1,), condition=None)
    assert network(torch.zeros(2, 3)).shape == (2, 1)
    assert variata.build(of_odd(spare=None)).model.received["spare"] is None


@pytest.mark.usefixtures("odd")
def test_a_parameter_that_ends_in_an_underscore_is_written_without_it(tmp_path):
    assembly = variata.build(of_odd(**{"from": 2}))
    assert assembly.model.received["from"] == 2.0
    assert assembly.spec.plain()["model"]["from"] == 2.0
    assert_reads_back(assembly.spec, tmp_path / "spec.yaml")
    assert problems(of_odd(from_=2)) == ["python model.from_: unknown option, did you mean from?"]


@pytest.mark.usefixtures("odd")
def test_a_schedule_may_stand_where_a_number_may():
    assert variata.build(of_odd(weight=2)).model.received["weight"] == 2.0
    schedule = variata.build(of_odd(weight={"use": "linear", "from": 0, "to": 1})).model.received["weight"]
    assert isinstance(schedule, Linear)
    known = "(constant, cosine, cyclic, linear, warmup)"
    assert problems(of_odd(weight="lots")) == [
        f"python model.weight: must be a valid number or a schedule {known} (got 'lots')"
    ]
    assert problems(of_odd(weight="linear")) == [
        "python model.weight.from: a required option is missing",
        "python model.weight.to: a required option is missing",
    ]
    assert problems(of_odd(weight={"to": 1})) == [f"python model.weight: says no `use`: name a schedule {known}"]
    assert problems(of_odd(weight={"use": "mlp"})) == [
        f"python model.weight: mlp is a network, but a schedule belongs here {known}"
    ]


@pytest.mark.parametrize("number", [".nan", ".inf", "1e400"])
def test_a_weight_that_is_no_finite_number_is_refused(number):
    (problem,) = problems("vae", [f"loss.beta={number}"])
    assert problem.startswith("command line loss.beta: must be a finite number")


@pytest.mark.usefixtures("odd")
def test_choices_are_named():
    assert problems(of_odd(mode="quick")) == ["python model.mode: must be 'fast' or 'slow' (got 'quick')"]


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("1_000", "; write 1000, without _"),
        ("10k", "; write 10, without 'k'"),
        ("1e-3f", "; write 1e-3, without 'f'"),
        ("ten", ""),
    ],
)
def test_text_that_is_nearly_a_number_gets_its_remedy(text, remedy):
    assert problems("vae", [f"train.epochs={text}"]) == [
        f"command line train.epochs: must be a valid integer (got {text!r}){remedy}"
    ]


def test_problems_of_every_part_are_reported_together_outermost_first(write):
    file = write(
        "f.yaml",
        "extends: vae\nmodel:\n  latent: x\n  encoder: {network: {use: mlp, hidden: [a, b], activation: 3}}\n"
        "  prior: nobody\nloss: {beta: -x}\ntrain: {epochs: 0}\nseed: 1.5\n",
    )
    places = [problem.partition(": ")[0].removeprefix(str(file)) for problem in problems(file)]
    assert places == [
        ":3:11 model.latent",
        ":4:42 model.encoder.network.hidden[0]",
        ":4:45 model.encoder.network.hidden[1]",
        ":4:61 model.encoder.network.activation",
        ":5:10 model.prior",
        ":6:14 loss.beta",
        ":7:17 train.epochs",
        ":8:7 seed",
    ]


@pytest.mark.parametrize("seed", ["4294967296", "99999999999999999999999"])
def test_a_seed_that_generators_cannot_take_is_refused(seed):
    assert problems("vae", [f"seed={seed}"]) == [f"command line seed: must be less than 4294967296 (got {seed})"]


# Constructors that cannot be read


class Anything(Nothing):
    def __init__(self, **options: Any) -> None:
        super().__init__()


class Several(Nothing):
    def __init__(self, *options: Any) -> None:
        super().__init__()


class Untyped(Nothing):
    def __init__(self, *, weight=1.0) -> None:
        super().__init__()


class Misnamed(Nothing):
    def __init__(self, *, weight: NoSuchType = 1.0) -> None:  # noqa: F821  # pyright: ignore
        super().__init__()


class Misread(Nothing):
    def __init__(self, *, weight: variata.NoSuchType = 1.0) -> None:  # pyright: ignore
        super().__init__()


class Opaque(Nothing):
    def __init__(self, *, other: nn.Linear = 3) -> None:  # pyright: ignore
        super().__init__()


class Wide(Nothing):
    def __init__(self, width: int) -> None:
        super().__init__()


class Failing(Nothing):
    def __init__(self) -> None:
        super().__init__()
        raise ZeroDivisionError("by nought")


class Unfinished(OnePhaseLoss):
    pass


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (Anything, "command line loss: Anything: the constructor takes *options; name every option instead"),
        (Several, "command line loss: Several: the constructor takes *options; name every option instead"),
        (Untyped, "command line loss: Untyped: option weight has no type annotation"),
        (Misnamed, "command line loss: Misnamed: the annotations of its constructor cannot be read (name 'NoSuchType'"),
        (Misread, "command line loss: Misread: the annotations of its constructor cannot be read (module 'variata'"),
        (Opaque, "command line loss.other: is annotated <class 'torch.nn.modules.linear.Linear'>, which is neither"),
        (Wide, "command line loss: it needs width, not known here"),
        (Failing, "command line loss: it cannot be built: ZeroDivisionError: by nought (test_constructors.py:"),
        (Unfinished, "command line loss: it cannot be built: TypeError: Can't instantiate abstract class Unfinished"),
        (MLP, "command line loss: it of plugin local:inline is no subclass of Loss"),
    ],
)
def test_a_constructor_that_cannot_be_read_is_an_error_where_it_is_used(part, problem):
    with variata.plugin([Component("loss", "it", part)]):
        found = problems("vae", ["loss=it"])
        assert variata.build("vae").model is not None
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_a_class_without_a_constructor_has_no_options():
    assert signature_of(Nothing).options == {}
    with variata.plugin([Component("loss", "nothing", Nothing)]):
        assert variata.build("vae", ["loss=nothing"]).spec.plain()["loss"] == {"use": "nothing"}


def test_options_that_no_memory_can_hold_are_one_problem():
    (problem,) = problems("vae", ["model.latent=99999999999999"])
    assert "model.encoder.network: mlp cannot be built: RuntimeError" in problem


class WithDefault(Nothing):
    def __init__(self, *, network: Factory[Network] = default("network", "mlp", hidden=[3])) -> None:
        super().__init__()


def test_a_default_component_merges_like_one_that_is_written():
    assert default("network", "mlp", hidden=[3]) == Default("network", "mlp", (("hidden", [3]),))

    def network(*overrides: str) -> dict[str, Any]:
        return load_spec("vae", ["loss=it", *overrides]).plain()["loss"]["network"]

    with variata.plugin([Component("loss", "it", WithDefault)]):
        assert network()["hidden"] == [3]
        assert network("loss.network.activation=tanh") == network() | {"activation": "tanh"}
        assert network("loss.network.hidden=[4]") == network() | {"hidden": [4]}
        assert "hidden" not in network("loss.network={use: conv, channels: [2]}")
