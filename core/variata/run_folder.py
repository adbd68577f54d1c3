"""A run: the folder that training leaves, and what is loaded from it."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from .assembly import assemble, build_data
from .checkpoint import WEIGHTS, load_weights, read_tensors, write_json, write_tensors, write_text
from .config import Spec, load_spec
from .data import Data, DataSpec
from .errors import DataError, RunError, VariataWarning
from .plugins import load_file
from .processes import choose_device
from .provenance import check_plugins, read_record, write_plugins
from .sources import Live, NotSaved
from .yaml12 import parse_file

SPEC, METRICS, STATUS = "spec.yaml", "metrics.jsonl", "run.json"
LIKELIHOODS = "log_likelihoods.safetensors"


@dataclass
class RunContext:
    """What the hooks of a run are given. `rows` are the metrics logged so far; `status` is "running" until the end."""

    path: Path
    spec: Spec
    model: Any
    loss: Any
    data: Data
    step: int = 0
    epoch: int = 0
    status: str = "running"
    rows: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """A trained model with the folder that it lives in.

    Attributes:
        path: the folder.
        spec: the specification, everything resolved.
        model: the model, in evaluation mode.
        status: "finished", "interrupted" (by Ctrl-C), "terminated" (by SIGTERM), "not finite", "failed"; "running"
            where the process was killed.
    """

    def __init__(self, path: Path, spec: Spec, model: Any, status: str, data: Data | None = None) -> None:
        self.path, self.spec, self.model, self.status = path, spec, model, status
        self._data = data

    @cached_property
    def data(self) -> Data:
        """The data set, built when first asked for.

        Raises:
            RunError: it was a live object, and was not passed to `variata.load`.
            DataError: it is no longer what the model was trained on.
        """
        section = self.spec["data"]
        if self._data is None and isinstance(section, Live) and isinstance(section.value, NotSaved):
            raise RunError(
                f"{self.path}: the data was a live object ({section.value.text}): pass data= to variata.load"
            )
        data = self._data or build_data(self.spec)
        if data.spec.shape != self.model.spec.shape or data.spec.support != self.model.spec.support:
            now, then = (f"{list(spec.shape)}, {spec.describe()}" for spec in (data.spec, self.model.spec))
            raise DataError(f"{self.path}: the data is {now}, and was {then} when the model was trained")
        for name in ("vocabulary", "source"):
            if getattr(data.spec, name) != getattr(self.model.spec, name):
                raise DataError(f"{self.path}: the data has another {name} than the model: the file was changed since")
        of_data, of_model = ((*spec.columns, spec.label) for spec in (data.spec, self.model.spec))
        for now, then in zip(of_data, of_model, strict=False):
            if now is not None and then is not None and now != then:
                message = f"the data's column is {now.describe()}, and was {then.describe()} when the model was trained"
                raise DataError(f"{self.path}: {message}: the file was changed since")
        return data

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a row that was cut short is left out."""
        rows = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.path / METRICS).read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    rows.append(json.loads(line))
        return rows

    @property
    def log_likelihoods(self) -> Tensor | None:
        """As `read_log_likelihoods`."""
        return read_log_likelihoods(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {type(self.model).__name__}, {self.status})"


def new_folder(path: str | Path | None, name: str) -> Path:
    """Makes the folder of a new run; without a path, one named by the configuration and the time under `runs/`.

    Raises:
        RunError: it cannot be made, or holds something already.
    """
    if path is None:
        stem = Path("runs") / f"{name.rpartition('/')[2]}-{time.strftime('%Y%m%d-%H%M%S')}"
        candidates = [stem, *(stem.with_name(f"{stem.name}-{i}") for i in range(2, 100))]
        path = next(candidate for candidate in candidates if not candidate.exists())
    folder = Path(path)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise RunError(f"{folder}: is not empty; choose another --run, or remove it first")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror}; choose another --run") from error
    return folder


def write_description(folder: Path, spec: Spec) -> None:
    """Writes what the run is made of, before training: spec.yaml, plugins.json, and copies of local plugin files."""
    write_text(folder / SPEC, spec.dump())
    write_plugins(folder, spec)


def save_model(folder: Path, weights: Mapping[str, Tensor], status: Mapping[str, Any]) -> None:
    """Writes the weights, then the status that says that they stand."""
    write_tensors(weights, folder / WEIGHTS)
    write_json(folder / STATUS, dict(status))


def write_log_likelihoods(folder: Path, values: Tensor | None) -> None:
    """Keeps log p(x) of each example beside evaluation.json; without any, those of an earlier evaluation go.

    Raises:
        RunError: the folder cannot be written.
    """
    path = folder / LIKELIHOODS
    if values is not None:
        write_tensors({"log_likelihood": values}, path)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{path}: cannot be removed: {error.strerror}") from error


def read_log_likelihoods(folder: str | Path) -> Tensor | None:
    """log p(x) of each example of the split that a run was last evaluated on, `[examples]` in float64, in their order:
    for paired comparisons. None where it was not evaluated, or has no likelihood.

    Raises:
        RunError: the file is damaged.
    """
    path = Path(folder) / LIKELIHOODS
    return read_tensors(path)["log_likelihood"] if path.is_file() else None


def load(path: str | Path, *, plugins: Iterable[str | Path] = (), device: str = "cpu", **live: Any) -> Run:
    """Loads a run folder: the specification is rebuilt with the installed plugins, and the weights are read.

    Args:
        plugins: local plugin files that the run was trained with; they are never taken from the folder by themselves.
        live: live objects that the run was trained with (`encoder=...`, `data=...`).

    Raises:
        RunError: it is no run folder, its weights are missing or damaged, or a plugin that it needs is not there.
        ConfigError: its specification cannot be built with what is installed.
    """
    folder = Path(path)
    if not os.path.isfile(folder / SPEC):
        raise RunError(
            f"{folder}: {'is no run folder (it has no spec.yaml)' if os.path.isdir(folder) else 'there is no such run'}"
        )
    for file in plugins:
        load_file(file)
    provided = check_plugins(folder)
    spec = load_spec(folder / SPEC, live={**_not_saved(folder / SPEC), **live}, provided=provided)
    if not spec.built:
        raise RunError(f"{folder / SPEC}: says nothing of how it was built; it was not written by a run")
    try:
        data_spec = DataSpec.from_json(spec.built["data"])
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{folder / SPEC}: what it says under `built` is damaged; it is not to be edited") from error
    assembly = assemble(spec, data_spec)
    load_weights(assembly.model, folder / WEIGHTS)
    status = read_record(folder / STATUS, _Status, "; the run was stopped before it ended").status
    if status != "finished":
        message = f"{folder}: training did not reach its end ({status}); these are its last weights"
        warnings.warn(message, VariataWarning, stacklevel=2)
    data = build_data(spec) if "data" in live else None
    return Run(folder, spec, assembly.model.to(choose_device(device, "device")).eval(), status, data)


@dataclass
class _Status:
    status: str


def _not_saved(path: Path) -> dict[str, Any]:
    """Placeholders for live data and loss, which a loaded model does not need."""
    root = parse_file(path, str(path))
    sections = {key: root.get(key) for key in ("data", "loss")}
    notes = {key: node.get("live") for key, node in sections.items() if node is not None}
    return {key: NotSaved(str(note.value)) for key, note in notes.items() if note is not None}
