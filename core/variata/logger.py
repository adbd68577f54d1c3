"""What else a run's metrics are written to."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .run_folder import RunContext


# Not every logger cares for every moment, so no method is abstract (B024, B027): what is not written does nothing.
class Logger(ABC):  # noqa: B024 -- every method has a sensible default: to do nothing
    """Listens to one run that asks for it under `train.loggers`. The moments are those of the hooks of a run; one that
    raises is a warning, and training goes on. In several processes only the first one has loggers.

    `context.rows` holds the metrics logged so far. After a resume it starts with those that were kept, up to
    `context.step`; what a logger wrote of later steps is to be dropped in `started`.
    """

    def started(self, context: RunContext) -> None:  # noqa: B027
        """Training begins, or goes on at `context.step`."""

    def logged(self, context: RunContext) -> None:  # noqa: B027
        """A row of metrics was added: `context.rows[-1]`."""

    def saved(self, context: RunContext) -> None:  # noqa: B027
        """A checkpoint stands in the run folder."""

    def ended(self, context: RunContext) -> None:  # noqa: B027
        """Training is over; `context.status` says how."""

    def failed(self, context: RunContext) -> None:  # noqa: B027
        """Training stopped by an error, which is raised next."""
