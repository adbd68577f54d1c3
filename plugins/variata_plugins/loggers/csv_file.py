"""metrics.csv: the rows of metrics.jsonl as a table, for spreadsheets and pandas."""

from __future__ import annotations

import csv

from variata import Logger, RunContext


class CSV(Logger):
    """A column for each name that was logged, empty where a row has none. A name that comes later (the first of a
    validation, say) makes the file anew, with a column more."""

    def __init__(self) -> None:
        self.columns: list[str] = []

    def started(self, context: RunContext) -> None:
        self.columns = []
        self._add_columns(context)

    def logged(self, context: RunContext) -> None:
        row = context.rows[-1]
        if not row.keys() <= set(self.columns):
            self._add_columns(context)
            return
        with (context.path / "metrics.csv").open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(row)

    def _add_columns(self, context: RunContext) -> None:
        self.columns = list(dict.fromkeys([*self.columns, *(name for row in context.rows for name in row)]))
        with (context.path / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(context.rows)
