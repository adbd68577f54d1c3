"""`variata compare`: models side by side, on the same examples, splits, seeds and budget.

What is compared is checked as a whole before anything trains (`plan.py`): on which data all can train, with what
budget. Each training, with its evaluation, is a trial (`trial.py`, `measures.py`, `drawing.py`), taken one after the
other or in several processes (`workers.py`). What trials found is put side by side where it may be (`groups.py`), with
intervals over seeds and differences paired by example (`statistics.py`), in a record (`record.py`), tables
(`tables.py`) and a page of HTML (`report/`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from variata import Command, hookimpl

if TYPE_CHECKING:
    from variata import RunContext

_HERE = "variata_plugins.comparison"


@hookimpl
def variata_commands() -> list[Command]:
    """The commands `compare` and `report`."""
    description = "Train models on the same data and budget, and put them side by side."
    page = "Write the page of a comparison again."
    return [
        Command("compare", f"{_HERE}.command:compare", description),
        Command("report", f"{_HERE}.report.command:report", page),
    ]


@hookimpl
def variata_metrics_logged(context: RunContext) -> None:
    """Tells a comparison how far the training under way has come."""
    from .progress import heard

    heard(context)
