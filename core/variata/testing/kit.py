"""Conformance: every check of a component's kind, by name, as one function and as a parametrised test."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..errors import PluginError, UserError, article, reason_of, suggest
from ..plugins import registry
from ..signature import signature_of
from .data_sets import DATA
from .figures import LOGGERS, METRICS
from .kernels import KERNELS, kernel_of
from .laws import NotApplicable
from .losses import LOSSES
from .models import MODELS
from .optimisation import OPTIMIZERS, SCHEDULES
from .parts import PARTS, Check
from .presets import check_preset
from .subject import Subject

KERNEL, PRESET = "kernel", "preset"


def check_declaration(subject: Subject) -> None:
    """It is a subclass of its kind, says what it is, and its constructor can be written in YAML."""
    entry = subject.entry
    part = entry.load()
    kind = registry().kinds()[subject.kind].load()
    assert isinstance(part, type) and issubclass(part, kind), f"is no subclass of {kind.__name__}"
    assert not inspect.isabstract(part), f"leaves {', '.join(sorted(part.__abstractmethods__))} abstract"
    assert entry.component.description.strip(), "has no description in its Component: `variata list` shows it"
    assert (part.__doc__ or "").strip(), "has no docstring: say what it is, with its formula and its reference"
    signature_of(part)


def check_occurrence(subject: Subject) -> None:
    """A preset of its plugin shows how it is used."""
    subject.preset_name()


_DECLARED: dict[str, Check] = {"declaration": check_declaration}
CHECKS: dict[str, dict[str, Check]] = {
    **{kind: _DECLARED | checks for kind, checks in PARTS.items()},
    "loss": _DECLARED | {"occurrence": check_occurrence} | LOSSES,
    "model": _DECLARED | {"occurrence": check_occurrence} | MODELS,
    "data": _DECLARED | DATA,
    "metric": _DECLARED | METRICS,
    "optimizer": _DECLARED | OPTIMIZERS,
    "schedule": _DECLARED | SCHEDULES,
    "logger": _DECLARED | LOGGERS,
}
"""Every kind of the core with its checks by name. A kind that a plugin declares has those of any declaration."""


def checks_of(kind: str) -> list[str]:
    """The names of a kind's checks, in their order; `kernel` and `preset` are kinds here too.

    >>> checks_of("schedule")
    ['declaration', 'values', 'purity']
    """
    if kind == PRESET:
        return ["contract"]
    return list(KERNELS if kind == KERNEL else CHECKS.get(kind, {**_DECLARED, "occurrence": check_occurrence}))


def check_component(
    name: str, checks: str | list[str] | None = None, *, kind: str | None = None, **about: Any
) -> dict[str, str]:
    """Runs the checks of a component's kind.

    Args:
        name: as it is registered; `kind/name` where several kinds know the name. Of an operator, its own name; of a
            preset, `preset/name`.
        checks: only these.
        kind: its kind, where the name does not tell.
        about: fields of `Subject`: options, latent, siblings, reference, preset.

    Returns:
        The checks that say nothing here, with the reason.

    Raises:
        AssertionError: one fails, saying the component, the check and what was seen.
        PluginError: there is no such component, or no such check.
    """
    kind, bare = kind_of(name, kind)
    if kind == KERNEL:
        kernel_of(bare)
    known = checks_of(kind)
    chosen = [checks] if isinstance(checks, str) else checks or known
    skipped: dict[str, str] = {}
    for check in chosen:
        if check not in known:
            raise PluginError(f"{article(kind)} has no check {check}{suggest(check, known)}")
        try:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                _run(kind, bare, check, about)
        except NotApplicable as error:
            skipped[check] = str(error)
        except (AssertionError, UserError) as error:
            raise AssertionError(f"{kind} {bare}, {check}: {error}") from error
        except Exception as error:
            raise AssertionError(f"{kind} {bare}, {check}: raises {reason_of(error)}") from error
    return skipped


def _run(kind: str, name: str, check: str, about: Mapping[str, Any]) -> None:
    if kind == KERNEL:
        KERNELS[check](kernel_of(name))
    elif kind == PRESET:
        check_preset(name)
    else:
        found = CHECKS.get(kind, {**_DECLARED, "occurrence": check_occurrence})
        found[check](Subject(kind, name, **about))


def kind_of(name: str, kind: str | None = None) -> tuple[str, str]:
    """The kind of what is registered under a name, and the name without it.

    Raises:
        PluginError: nothing is, or more than one kind knows the name.
    """
    kinds = {*registry().kinds(), KERNEL, PRESET}
    first, slash, rest = name.partition("/")
    if kind is None and slash and first in kinds:
        kind, name = first, rest
    if kind is not None:
        return kind, name
    bare = name.rpartition("/")[2]
    found = {entry.component.kind for entry in registry().entries() if entry.component.name == bare}
    if not found:
        try:
            kernel_of(name)
            return KERNEL, name
        except PluginError:
            names = {entry.component.name for entry in registry().entries()}
            raise PluginError(f"no component is called {name}{suggest(name, names)}") from None
    if len(found) > 1:
        choices = " or ".join(f"{kind}/{name}" for kind in sorted(found))
        raise PluginError(f"{name} is the name of more than one component: write {choices}")
    return found.pop(), name


def conformance(
    name: str, *, kind: str | None = None, skip: Mapping[str, str] | None = None, **about: Any
) -> Callable[..., None]:
    """A pytest function with a test for each check of a component's kind:

        test_conformance = variata.testing.conformance("my_prior")

    What says nothing about a component (the marginals of a model that has none) is skipped with the reason.

    Args:
        name, kind, about: as for `check_component`.
        skip: checks that are left out, each with the reason.

    Raises:
        PluginError: there is no such component, or `skip` names a check that there is not.
    """
    import pytest

    found, bare = kind_of(name, kind)
    left_out = dict(skip or {})
    for check in left_out:
        if check not in checks_of(found):
            raise PluginError(f"skip: {article(found)} has no check {check}{suggest(check, checks_of(found))}")
    cases = [
        pytest.param(check, marks=pytest.mark.skip(reason=left_out[check]) if check in left_out else ())
        for check in checks_of(found)
    ]

    @pytest.mark.parametrize("check", cases)
    def test(check: str) -> None:
        skipped = check_component(bare, check, kind=found, **about)
        if check in skipped:
            pytest.skip(skipped[check])

    test.__doc__ = f"The {found} {bare} keeps what its kind promises."
    return test
