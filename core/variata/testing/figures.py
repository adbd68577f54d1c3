"""The checks of metrics and loggers."""

from __future__ import annotations

import math
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..api import build, train_assembly
from ..assembly import finish
from ..checkpoint import own_state
from ..data import Data
from ..errors import UserError, VariataWarning
from ..estimates import EvaluationSettings
from ..evaluation import measure
from ..interfaces import Metric
from ..logger import Logger
from .laws import NotApplicable
from .losses import in_preset
from .partners import GaussianPartner, NegativeELBO, PartnerData
from .subject import SPECS, Subject, examples

SETTINGS = EvaluationSettings(samples=8, batch_size=32, ais_steps=20, ais_chains=8)


def _model_and_data(subject: Subject) -> tuple[Any, Data]:
    """A preset's model, where one is named; else the kit's own, of digits where the metric needs classes or images."""
    if subject.preset is not None:
        assembly = in_preset(subject)
        assert assembly.data is not None
        finish(assembly.model, assembly.data)
        return assembly.model.eval(), assembly.data
    spec = replace(SPECS["binary image"], shape=(1, 8, 8))
    x = examples(spec, 200)
    model = GaussianPartner(spec, latent=2)
    if not isinstance(model, subject.entry.load().requires):
        raise NotApplicable(f"needs a {subject.entry.load().requires.__name__}: name a preset, preset=...")
    return model.eval(), PartnerData(spec, x, torch.arange(len(x)) % 3)


def _measured(subject: Subject, model: Any, data: Data, settings: EvaluationSettings = SETTINGS) -> dict[str, Any]:
    metric = subject.build()
    assert isinstance(metric, Metric)
    try:
        return measure(model, data, [metric], settings)
    except UserError as error:
        raise NotApplicable(f"{error} (name a preset that it can be measured in, preset=...)") from error


def check_estimates(subject: Subject) -> None:
    """Figures have names, finite values and errors that are not negative."""
    found = _measured(subject, *_model_and_data(subject))
    assert found, "gives no figure"
    for name, figure in found.items():
        values = figure["value"] if isinstance(figure["value"], list) else [figure["value"]]
        assert all(isinstance(v, float | int) and math.isfinite(v) for v in values), f"{name} is {figure['value']}"
        errors = figure.get("standard_error", 0.0)
        assert "standard_error" in figure, f"{name} says nothing of its standard error: give None where there is none"
        for error in errors if isinstance(errors, list) else [errors]:
            assert error is None or error >= 0, f"{name} has the standard error {error}"


def check_repeats(subject: Subject) -> None:
    """Measured twice, the figures are equal, and the model is as it was."""
    model, data = _model_and_data(subject)
    before = {name: value.clone() for name, value in own_state(model).items()}
    one, again = (_measured(subject, model, data) for _ in range(2))
    for name, figure in one.items():
        assert figure["value"] == again[name]["value"], (
            f"{name}: measured twice, {figure['value']} and {again[name]['value']}"
        )
    assert not model.training, "leaves the model in training mode"
    changed = [name for name, value in own_state(model).items() if not torch.equal(value, before[name])]
    assert not changed, f"changes {', '.join(changed)} of the model"


def check_batch_size(subject: Subject) -> None:
    """No figure depends on how examples are cut into batches."""
    model, data = _model_and_data(subject)
    one, other = (_measured(subject, model, data, replace(SETTINGS, batch_size=size)) for size in (16, 100))
    for name, figure in one.items():
        pair = [f if isinstance(f, list) else [f] for f in (figure["value"], other[name]["value"])]
        same = all(math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4) for a, b in zip(*pair, strict=True))
        assert same, f"{name} is {figure['value']} by 16 examples at a time, and {other[name]['value']} by 100"


METRICS = {"estimates": check_estimates, "repeats": check_repeats, "batch_size": check_batch_size}


# Loggers


def _trained(loggers: list[Logger], folder: Path) -> dict[str, torch.Tensor]:
    spec = SPECS["real table"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GaussianPartner(spec, latent=2)
    data = PartnerData(spec, examples(spec, 40), torch.arange(40) % 3)
    settings = {"train.epochs": 2, "train.log_every": 1, "train.batch_size": 20, "train.checkpoint_every": 2}
    assembly = build({}, settings, model=model, data=data, loss=NegativeELBO())
    assembly.training.loggers = loggers
    return train_assembly(assembly, run=folder).model.state_dict()


def check_logging(subject: Subject) -> None:
    """It listens to a short run without raising, and training comes to what it comes to without it."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        plain = _trained([], Path(folder) / "plain")
        logged = _trained([subject.build()], Path(folder) / "logged")
    raised = [str(w.message) for w in said if issubclass(w.category, VariataWarning) and "logger" in str(w.message)]
    assert not raised, raised[0]
    for name, value in plain.items():
        assert torch.equal(value, logged[name]), f"a run that it listens to ends with another {name}"


LOGGERS = {"logging": check_logging}
