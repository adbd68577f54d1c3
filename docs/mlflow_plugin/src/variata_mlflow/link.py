"""mlflow.json in a run folder: which of MLflow's runs it is."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Link:
    """Where MLflow is, and the identity of the run there."""

    uri: str
    run: str

    @classmethod
    def of(cls, folder: Path) -> Link | None:
        """The link of a run folder; None where it has none that can be read."""
        try:
            return cls(**json.loads((folder / "mlflow.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Leaves it in a run folder."""
        (folder / "mlflow.json").write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")


def metric_name(name: str) -> str:
    """A name that MLflow takes: `fid[lenet]` becomes `fid_lenet_`.

    >>> metric_name("nll"), metric_name("fid[lenet]")
    ('nll', 'fid_lenet_')
    """
    return re.sub(r"[^\w.\- /]", "_", name)
