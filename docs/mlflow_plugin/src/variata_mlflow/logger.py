"""The logger: what happens in MLflow at each moment of a run. MLflow is imported when a run starts: it changes the
environment and the filters of warnings, which is not for those who only have this package installed."""

from __future__ import annotations

import time
from typing import Any

import variata

from .link import Link, metric_name

_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "terminated": "KILLED"}
_LONGEST, _AT_ONCE = 500, 100  # characters of a parameter, and parameters of one call, that every store takes
_FILES = ("spec.yaml", "plugins.json", "metrics.jsonl", "*.png", "*.html")


class MLflow(variata.Logger):
    """Metrics as `loss/validation`, every option as a parameter, the run's files as artifacts.

    A run that is resumed goes on in the same run of MLflow; rows that it had logged beyond its checkpoint are not
    logged twice, since training gives the same again.

    Args:
        uri: where to; by default what MLflow itself takes (MLFLOW_TRACKING_URI).
        experiment: that the run belongs to.
        tags: of the run, beside those that say what it is.
        weights: whether model.safetensors is an artifact as well.
    """

    def __init__(
        self,
        *,
        uri: str | None = None,
        experiment: str = "variata",
        tags: dict[str, str] | None = None,
        weights: bool = False,
    ) -> None:
        self.uri, self.experiment, self.tags, self.weights = uri, experiment, tags or {}, weights
        self.client: Any = None
        self.run: str | None = None  # until it is made
        self.logged_before: set[tuple[str, int]] = set()

    def started(self, context: variata.RunContext) -> None:
        from mlflow import MlflowClient

        self.client, self.logged_before = MlflowClient(self.uri), set()
        self.run = self._resumed(context)
        if self.run is None:
            self.run = self._new(context)
            Link(self.client.tracking_uri, self.run).write(context.path)
            return
        self.client.update_run(self.run, status="RUNNING")
        self.client.set_tag(self.run, "variata.resumed_at", str(context.step))
        for name in self.client.get_run(self.run).data.metrics:
            self.logged_before |= {(name, point.step) for point in self.client.get_metric_history(self.run, name)}

    def logged(self, context: variata.RunContext) -> None:
        if self.run is None:  # the store could not be reached, which was said
            return
        from mlflow.entities import Metric

        row = context.rows[-1]
        names = {name: metric_name(f"{name}/{row['split']}") for name in row.keys() - {"step", "epoch", "split"}}
        now = int(1000 * time.time())
        metrics = [
            Metric(key, float(row[name]), now, row["step"])
            for name, key in sorted(names.items())
            if (key, row["step"]) not in self.logged_before
        ]
        if metrics:
            self.client.log_batch(self.run, metrics=metrics)

    def ended(self, context: variata.RunContext) -> None:
        if self.run is None:
            return
        for pattern in (*_FILES, *(("model.safetensors",) if self.weights else ())):
            for file in sorted(context.path.glob(pattern)):
                self.client.log_artifact(self.run, str(file))
        self.client.set_terminated(self.run, _STATUS.get(context.status, "FAILED"))

    def failed(self, context: variata.RunContext) -> None:
        self.ended(context)

    def _resumed(self, context: variata.RunContext) -> str | None:
        """The run in MLflow that this folder had, if it is still there."""
        from mlflow.exceptions import MlflowException

        link = Link.of(context.path) if context.step else None
        if link is None or link.uri != self.client.tracking_uri:
            return None
        try:
            return self.client.get_run(link.run).info.run_id
        except MlflowException:
            return None

    def _new(self, context: variata.RunContext) -> str:
        from mlflow.entities import Param

        known = self.client.get_experiment_by_name(self.experiment)
        where = known.experiment_id if known else self.client.create_experiment(self.experiment)
        tags = {"variata.version": variata.__version__, "variata.folder": str(context.path.resolve()), **self.tags}
        run = self.client.create_run(where, run_name=context.path.name, tags=tags).info.run_id
        parameters = [Param(name, value) for name, value in sorted(flat(context.spec.plain()).items())]
        for start in range(0, len(parameters), _AT_ONCE):
            self.client.log_batch(run, params=parameters[start : start + _AT_ONCE])
        return run


def flat(options: Any, name: str = "") -> dict[str, str]:
    """Every option by its path, as `model.latent=8` names it on the command line.

    >>> flat({"model": {"use": "vae", "hidden": [8, 8]}, "seed": 0})
    {'model.use': 'vae', 'model.hidden': '[8, 8]', 'seed': '0'}
    """
    if not isinstance(options, dict) or not options:
        return {name: str(options)[:_LONGEST]}
    found: dict[str, str] = {}
    for key, value in options.items():
        found |= flat(value, f"{name}.{key}" if name else str(key))
    return found
