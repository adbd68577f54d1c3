"""The checks of optimisers and schedules."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import torch
from torch import nn

from ..errors import Unsupported, UserError
from ..objective import Clock, Optimizer, Schedule
from .laws import NotApplicable
from .losses import in_preset
from .presets import check_training
from .subject import Subject

_CLOCKS = [Clock(step, 10, 100) for step in (0, 1, 5, 50, 99, 100, 1000)]


def _bowl(subject: Subject, lr: float = 0.01) -> tuple[nn.Parameter, torch.optim.Optimizer, Any]:
    """A parameter at (1, -2, 3), to be brought to 0, and the optimiser of it."""
    parameter = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    recipe = subject.build()
    assert isinstance(recipe, Optimizer)
    try:
        return parameter, recipe.build([parameter], lr), recipe
    except UserError as error:
        raise NotApplicable(f"moves parameters of its own kind alone: {error}") from error


def _descend(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()


def check_descent(subject: Subject) -> None:
    """It is an optimiser of torch's, has a learning rate, and comes down a bowl."""
    parameter, optimizer, recipe = _bowl(subject)
    assert isinstance(optimizer, torch.optim.Optimizer), f"build gives a {type(optimizer).__name__}"
    assert isinstance(recipe.lr, float | int | Schedule), "has no learning rate `lr`, a number or a schedule"
    before = float(parameter.detach().square().sum())
    _descend(parameter, optimizer, 20)
    after = float(parameter.detach().square().sum())
    assert after < before, f"twenty steps down a bowl lead from {before:g} to {after:g}"


def check_rate(subject: Subject) -> None:
    """At a learning rate of zero nothing moves: the engine sets `lr` in every group before a step."""
    parameter, optimizer, _ = _bowl(subject)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    start = parameter.detach().clone()
    _descend(parameter, optimizer, 3)
    assert torch.equal(parameter.detach(), start), "moves parameters at a learning rate of zero"


def check_resume(subject: Subject) -> None:
    """With the state that was saved, it goes on exactly."""
    one, optimizer, _ = _bowl(subject)
    _descend(one, optimizer, 5)
    other, again, _ = _bowl(subject)
    with torch.no_grad():
        other.copy_(one)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    _descend(one, optimizer, 5)
    _descend(other, again, 5)
    assert torch.equal(one, other), "with its saved state loaded, it takes other steps: it keeps state elsewhere"


def check_functional(subject: Subject) -> None:
    """The form that is compiled takes the steps of the other, and none that is not accepted."""
    one, optimizer, _ = _bowl(subject)
    other, again, recipe = _bowl(subject)
    try:
        update = recipe.functional(again)
    except Unsupported as error:
        raise NotApplicable(str(error)) from error
    lr = torch.tensor(0.01, dtype=torch.float64)
    for accepted in (True, False, True, True):
        (gradient,) = torch.autograd.grad(other.square().sum(), [other])
        with torch.no_grad():
            update([gradient], lr, torch.tensor(accepted))
        if accepted:
            _descend(one, optimizer, 1)
    assert torch.allclose(one, other, atol=1e-6), "`functional` takes other steps than `step`"


def check_in_preset(subject: Subject) -> None:
    """It moves every parameter of a preset in which it occurs."""
    check_training(in_preset(subject), steps=5)


OPTIMIZERS = {
    "descent": check_descent,
    "rate": check_rate,
    "resume": check_resume,
    "functional": check_functional,
    "in_preset": check_in_preset,
}


# Schedules


def check_values(subject: Subject) -> None:
    """Finite at every moment, after the end too."""
    schedule = subject.build()
    assert isinstance(schedule, Schedule)
    for clock in _CLOCKS:
        value = schedule(clock)
        assert isinstance(value, float | int) and math.isfinite(value), f"is {value} at step {clock.step}"


def check_purity(subject: Subject) -> None:
    """A function of the moment alone, whatever it was asked before: a resumed run asks for later moments first."""
    one, other = subject.build(), subject.build()
    forward = [one(clock) for clock in _CLOCKS]
    backward = [other(clock) for clock in reversed(_CLOCKS)][::-1]
    assert forward == backward, "gives other values when moments are asked for in another order: it keeps state"
    assert [pickle.loads(pickle.dumps(one))(clock) for clock in _CLOCKS] == forward, "pickled, gives other values"


SCHEDULES = {"values": check_values, "purity": check_purity}
