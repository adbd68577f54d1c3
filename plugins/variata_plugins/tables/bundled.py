"""The tables that come with scikit-learn: nothing is downloaded.

    wine            178 rows, 13 numbers          3 cultivars          Aeberhard, Coomans and de Vel (1992)
    breast_cancer   569 rows, 30 numbers          2 diagnoses          Street, Wolberg and Mangasarian (1993)
    diabetes        442 rows, 9 numbers, sex      a number             Efron, Hastie, Johnstone and Tibshirani (2004)
    iris            150 rows, 4 numbers           3 species            Fisher (1936)

The last column named here, `target`, is a column like the others unless it is the label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from variata import Seed, Share, Split, TableData

from .cells import Cells
from .kinds import Kind, Reader
from .table import Hidden, Rows


class BundledTable(TableData):
    """One of scikit-learn's tables, in the units in which it was measured.

    Args:
        name: which one.
        label: as in `table`.
        columns, hide, validation, test, split_seed: as in `table`.
    """

    def __init__(
        self,
        *,
        name: Literal["wine", "breast_cancer", "diabetes", "iris"],
        label: str | None = None,
        columns: Mapping[str, Kind] | None = None,
        hide: Hidden = 0.0,
        validation: Share = 0.1,
        test: Share = 0.2,
        split_seed: Seed = 0,
    ) -> None:
        reader = Reader(_cells(name), (), columns or {})
        self._rows = Rows(reader, label, hide, {"validation": validation, "test": test}, split_seed)
        self.spec = self._rows.spec

    def split(self, name: str) -> Split:
        return self._rows.split(name)

    def complete(self, name: str) -> Tensor:
        return self._rows.complete[name]


def _cells(name: str) -> Cells:
    from sklearn import datasets

    found: Any = datasets.load_diabetes(scaled=False) if name == "diabetes" else getattr(datasets, f"load_{name}")()
    names = [str(n).replace(" ", "_").replace("(", "").replace(")", "").replace("/", "_") for n in found.feature_names]
    targets = getattr(found, "target_names", None)
    last = [str(v) if targets is None else str(targets[v]) for v in found.target]
    rows = [[f"{value:.12g}" for value in row] + [of_row] for row, of_row in zip(found.data, last, strict=True)]
    return Cells(f"sklearn's {name}", [*names, "target"], rows)
