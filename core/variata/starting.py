"""Where weights start from, and which of them stay: the section `init` of a specification.

init: {from: runs/vae, parts: [encoder], freeze: [encoder]}
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .checkpoint import WEIGHTS, own_state, read_tensors
from .errors import ConfigError, Problem, RunError, suggest
from .processes import assign

if TYPE_CHECKING:
    from .config import Part
    from .interfaces import Model

_SHOWN = 5


@dataclass(kw_only=True)
class Init:
    """The options under `init`.

    Attributes:
        from_: a run, whose weights (the averaged ones, where it kept averages) are copied before training.
        parts: names of the model's parts that are copied, as Python names them (`encoder`, `decoder.network`); null
            copies all of it.
        freeze: names of parts that training leaves as they are; they stay in evaluation mode.
    """

    from_: Path
    parts: tuple[str, ...] | None = None
    freeze: tuple[str, ...] = ()


def freeze(model: Model, section: Part) -> None:
    """Lets training leave the named parts as they are.

    Raises:
        ConfigError: the model has no such part.
    """
    names = section.options["freeze"]
    _check_names(model, names, section, "freeze")
    for name in names:
        model.get_submodule(name).requires_grad_(False)
    model.frozen = tuple(names)


def start(model: Model, section: Part) -> None:
    """Copies weights of a run into the model; what was copied is not prepared anew.

    Raises:
        ConfigError: there is no such part, or the run's tensors are not those of the model's: each is named.
        RunError: the run's weights are missing or damaged.
    """
    folder, names = section.options["from_"], section.options["parts"]
    _check_names(model, names or (), section, "parts")
    try:
        found = read_tensors(folder / WEIGHTS)
    except RunError as error:
        missing = "is no run folder" if folder.is_dir() else "there is no such run"
        message = str(error) if (folder / WEIGHTS).exists() else f"{folder}: {missing} (it has no {WEIGHTS})"
        raise ConfigError(Problem(message, _join(section, "from"), section.place)) from error
    parts = ("",) if names is None else tuple(names)
    own = {name: value for name, value in own_state(model).items() if within(name, parts)}
    theirs = {name: value for name, value in found.items() if within(name, parts)}
    if differences := _differences(own, theirs):
        which = "the model" if names is None else " and ".join(names)
        remedy = "name the parts that are the same" if names is None else "build them as that run has them"
        message = f"{folder}: does not fit {which}: {differences}: {remedy}"
        raise ConfigError(Problem(message, _join(section, "parts"), section.place))
    for name, value in own.items():
        assign(value, theirs[name])
    model.started = parts


def within(name: str, parts: Iterable[str]) -> bool:
    """Whether a module's or a tensor's name belongs to one of the parts; "" is all of a model."""
    return any(not part or name == part or name.startswith(f"{part}.") for part in parts)


def _differences(own: dict[str, Tensor], theirs: dict[str, Tensor]) -> str:
    """What is missing, unexpected, and of another shape, by name; a few of each."""
    both = [(name, list(theirs[name].shape), list(own[name].shape)) for name in own if name in theirs]
    found = {
        "missing ": [name for name in own if name not in theirs],
        "unexpected ": [name for name in theirs if name not in own],
        "": [f"{name} is {there}, not {here}" for name, there, here in both if there != here],
    }
    return "; ".join(word + _listed(names) for word, names in found.items() if names)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _check_names(model: nn.Module, names: Iterable[str], section: Part, option: str) -> None:
    known = [name for name, _ in model.named_modules() if name]
    for position, name in enumerate(names):
        if name not in known:
            parts = ", ".join(name for name, _ in model.named_children())
            message = f"{type(model).__name__} has no part {name!r}{suggest(name, known)} (it has {parts})"
            raise ConfigError(Problem(message, f"{_join(section, option)}[{position}]", section.place))


def _join(section: Part, option: str) -> str:
    return f"{section.path}.{option}" if section.path else option
