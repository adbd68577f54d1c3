"""What else a run's metrics are written to, beside metrics.jsonl: `train.loggers: [csv, tensorboard]`.

A logger listens to one run. Each is a few lines, and so is one of your own: docs/training.md writes one for MLflow.
"""

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """Loggers."""
    here = "variata_plugins.loggers"
    return [
        Component("logger", "csv", f"{here}.csv_file:CSV", "metrics.csv, a row for each step that was logged"),
        Component("logger", "tensorboard", f"{here}.tensorboard:TensorBoard", "TensorBoard events, with pictures"),
    ]
