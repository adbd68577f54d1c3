"""The logger keeps what its kind promises."""

from __future__ import annotations

import tempfile
from pathlib import Path

import variata.testing

STORE = tempfile.TemporaryDirectory()  # lives as long as this module

test_logger = variata.testing.conformance("logger/mlflow", options={"uri": Path(STORE.name).as_uri()})
