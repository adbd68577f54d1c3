"""Where an extractor that takes a while to train is kept: safetensors in the user's cache, or in VARIATA_CACHE."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from variata import Data, RunError

_ROWS = 10_000


def cache_file(name: str, data: Data, settings: Mapping[str, Any]) -> Path:
    """The file of what was trained on this data with these settings: both are in its name, as a checksum."""
    import pooch

    folder = Path(os.environ.get("VARIATA_CACHE") or pooch.os_cache("variata"))
    return folder / "extractors" / f"{name}-{_fingerprint(data, settings)}.safetensors"


def _fingerprint(data: Data, settings: Mapping[str, Any]) -> str:
    """Of the settings, what the data says of itself, and its training split: every label, and up to 10,000 rows."""
    digest = hashlib.sha256(json.dumps([data.spec.to_json(), dict(settings)], sort_keys=True).encode())
    for name in ("train", "test"):
        split = data.split(name)
        digest.update(f"{name} {len(split)}".encode())
        step = max(1, len(split) // _ROWS)
        for values in (split.x[::step], split.y):
            if values is not None:
                digest.update(np.ascontiguousarray(torch.as_tensor(values).cpu()).tobytes())
    return digest.hexdigest()[:16]


def read_cached(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors and notes; None where there is no such file, or no whole one."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118 -- the file is no mapping
    except (OSError, SafetensorError):
        return None


def write_cached(path: Path, state: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
    """Writes a file beside it and renames that, so that nobody reads half of it.

    Raises:
        RunError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.cpu().contiguous() for key, value in state.items()}, temporary, dict(notes))
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be written ({error}); set VARIATA_CACHE to a folder that can") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
