"""Runs in MLflow: `train.loggers: [mlflow]`.

A logger listens to one run that asks for it (`logger.py`); a hook adds to that run what evaluations find later
(`evaluations.py`). Which of MLflow's runs a run folder belongs to stands in the folder (`link.py`), so that training
which goes on goes on in the same one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from variata import Component, hookimpl

if TYPE_CHECKING:
    from variata import EvaluationContext


@hookimpl
def variata_components() -> list[Component]:
    """The logger."""
    return [Component("logger", "mlflow", "variata_mlflow.logger:MLflow", "MLflow: metrics, parameters and files")]


@hookimpl
def variata_evaluated(context: EvaluationContext) -> None:
    """Writes the estimates to the run in MLflow, where training had one."""
    from .link import Link

    if link := Link.of(context.path):
        from .evaluations import log_evaluation

        log_evaluation(link, context)
