"""A logger for MLflow, a plugin of one file: `variata train vae --plugin mlflow_logger.py train.loggers=[mlflow]`."""

from mlflow import MlflowClient

import variata


class MLflow(variata.Logger):
    """Metrics as `loss_validation`, the specification as tags, the pictures as artifacts.

    Args:
        uri: where to, as in MLFLOW_TRACKING_URI; a folder by default.
        experiment: that the run belongs to.
    """

    def __init__(self, *, uri: str = "mlruns", experiment: str = "variata") -> None:
        self.client, self.experiment = MlflowClient(uri), experiment

    def started(self, context: variata.RunContext) -> None:
        known = self.client.get_experiment_by_name(self.experiment)
        where = known.experiment_id if known else self.client.create_experiment(self.experiment)
        tags = {"specification": context.spec.dump()[:5000], "resumed_at": str(context.step)}
        self.run = self.client.create_run(where, run_name=context.path.name, tags=tags).info.run_id

    def logged(self, context: variata.RunContext) -> None:
        row = context.rows[-1]
        for name in row.keys() - {"step", "epoch", "split"}:
            key = f"{name}_{row['split']}".replace("[", "(").replace("]", ")")
            self.client.log_metric(self.run, key, row[name], step=row["step"])

    def ended(self, context: variata.RunContext) -> None:
        for picture in context.path.glob("*.png"):
            self.client.log_artifact(self.run, str(picture))
        self.client.set_terminated(self.run, "FINISHED" if context.status == "finished" else "KILLED")


@variata.hookimpl
def variata_components() -> list[variata.Component]:
    """The logger `mlflow`."""
    return [variata.Component("logger", "mlflow", MLflow, "MLflow tracking")]
