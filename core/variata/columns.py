r"""The columns of a table: what each of them is, and how its values stand in a tensor.

    numeric       (value - mean) / std, with mean and std of the training rows: a density of it, less log std, is one of
                  the value in the units of the source
    categorical   the number of its level, 0 .. levels - 1
    count         the whole number itself, 0, 1, 2, ...

NaN stands for what is missing, in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColumnKind = Literal["numeric", "categorical", "count"]
_SHOWN = 6


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: in the source.
        kind: what its values are.
        levels: of a categorical one, as they are written in the source.
        mean, std: of a numeric one or of counts, over the training rows that have a value.
        missing: share of the training rows that have none.
    """

    name: str
    kind: ColumnKind
    levels: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    missing: float = 0.0

    def text(self, value: float) -> str:
        """A value as models see it, as the source would write it; nothing where it is missing.

        >>> Column("sex", "categorical", ("female", "male")).text(1.0)
        'male'
        >>> Column("age", "numeric", mean=40.0, std=10.0).text(-0.5), Column("calls", "count").text(2.6)
        ('35', '3')
        """
        if value != value:  # NaN
            return ""
        if self.kind == "categorical":
            return self.levels[round(value)]
        return str(max(0, round(value))) if self.kind == "count" else f"{self.mean + self.std * value:.7g}"

    def describe(self) -> str:
        """In a line.

        >>> Column("age", "numeric", mean=40.0, std=10.0, missing=0.25).describe()
        'age: numeric, mean 40, standard deviation 10, 25.0% missing'
        """
        if self.kind == "categorical":
            more = [f"{len(self.levels)} in all"] if len(self.levels) > _SHOWN else []
            what = f"categorical ({', '.join([*self.levels[:_SHOWN], *more])})"
        else:
            what = f"{self.kind}, mean {self.mean:.4g}, standard deviation {self.std:.4g}"
        return f"{self.name}: {what}" + (f", {self.missing:.1%} missing" if self.missing else "")
