"""Who hears of a run: the plugins that implement its hooks, and the loggers that its specification names."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ..errors import VariataWarning, reason_of
from ..logger import Logger
from ..plugins import registry
from ..processes import alone
from ..run_folder import RunContext

_METHODS = {
    "variata_run_started": "started",
    "variata_metrics_logged": "logged",
    "variata_checkpoint_saved": "saved",
    "variata_run_ended": "ended",
    "variata_run_failed": "failed",
}


class Listening:
    """Tells plugins and loggers of the moments of one run; one that raises is a warning, and the others are still told.

    Args:
        loggers: those of `train.loggers`.
        plugins: whether plugins are told too.
    """

    def __init__(self, loggers: Sequence[Logger], plugins: bool = True) -> None:
        self.loggers, self.plugins = loggers, plugins

    def hears(self, hook: str) -> bool:
        """Whether anybody would be told."""
        return self.plugins and bool(registry().listeners(hook))

    def notify(self, hook: str, context: RunContext) -> None:
        """Tells everybody, plugins first. What they do, the first process does by itself."""
        with alone():
            if self.plugins:
                registry().notify(hook, context)
            for logger in self.loggers if hook in _METHODS else ():
                try:
                    getattr(logger, _METHODS[hook])(context)
                except Exception as error:
                    message = f"logger {type(logger).__name__} failed in {_METHODS[hook]}: {reason_of(error)}"
                    warnings.warn(" ".join(message.split()), VariataWarning, stacklevel=3)
