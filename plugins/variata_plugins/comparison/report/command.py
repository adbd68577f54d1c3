"""`variata report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .writing import write_report


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a comparison.")],
) -> None:
    """Write the page of a comparison again, from what its folder holds."""
    print(write_report(folder))
