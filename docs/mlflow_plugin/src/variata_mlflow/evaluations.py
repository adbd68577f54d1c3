"""What `variata evaluate RUN` finds, in the run that training had in MLflow: `evaluation/test/nll` and its error."""

from __future__ import annotations

import math

from mlflow import MlflowClient

from variata import EvaluationContext

from .link import Link, metric_name


def log_evaluation(link: Link, context: EvaluationContext) -> None:
    """Single figures as metrics, and the pictures that were left so far as artifacts."""
    client = MlflowClient(link.uri)
    split = context.settings.split
    for name, estimate in context.estimates.items():
        for suffix, value in (("", estimate["value"]), ("_standard_error", estimate.get("standard_error"))):
            if isinstance(value, float | int) and math.isfinite(value):
                client.log_metric(link.run, metric_name(f"evaluation/{split}/{name}{suffix}"), float(value))
    for picture in context.pictures:
        client.log_artifact(link.run, str(picture), "evaluation")
