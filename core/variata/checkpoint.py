"""Weights on disk: safetensors, written beside and renamed, read with every name and shape checked. Never a pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .errors import RunError
from .processes import assign, whole

WEIGHTS = "model.safetensors"
"""The file of a model's weights, in a run and in a checkpoint."""


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Lets `write` fill a file beside `path`, flushes it to disk, and renames it: `path` is always whole.

    Raises:
        RunError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise RunError(f"{path}: cannot be written: {reason}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def own_state(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; what several parts share stands under its first name alone."""
    saved = module.state_dict(keep_vars=True)
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: value.detach() for name, value in named if name in saved}


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """The same, of a module whose weights may be cut: then every process has to ask."""
    return {name: whole(value) for name, value in own_state(module).items()}


def save_weights(module: nn.Module, path: Path) -> None:
    """Writes a module's state to one safetensors file.

    Raises:
        RunError: the file cannot be written.
    """
    write_tensors(own_state(module), path)


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes tensors by name.

    Raises:
        RunError: the file cannot be written.
    """
    # Each in storage of its own: two views of one tensor are refused otherwise.
    state = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    write_atomically(path, lambda file: save_file(state, str(file)))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads what `write_tensors` wrote.

    Raises:
        RunError: the file is missing, cut short, or a pickle.
    """
    if not path.is_file():
        raise RunError(f"{path}: there are no weights; the run was stopped before it saved any, so train it again")
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file starts with the length of its header, which may be any two bytes, and then the header: "{...".
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and start[8:] != b"{":
        raise RunError(f"{path}: is a pickle (or an archive of them), which may run code and is never read here")
    try:
        # Copies, since what safetensors gives is a view of the file, which somebody may write anew.
        return {name: value.clone() for name, value in load_file(str(path)).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path}: is no whole safetensors file ({error}); it may have been cut short") from error


def load_weights(module: nn.Module, path: Path) -> None:
    """Reads what `save_weights` wrote, into a module of the same specification.

    Raises:
        RunError: the file is missing, cut short, a pickle, or does not fit the module; nothing is changed then.
    """
    state = read_tensors(path)
    own = own_state(module)
    problems = [f"missing {name}" for name in own if name not in state]
    problems += [f"unexpected {name}" for name in state if name not in own]
    problems += [
        f"{name} is {list(state[name].shape)}, not {list(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise RunError(f"{path}: does not fit the specification beside it: {', '.join(problems[:5])}{more}")
    for name, value in own.items():
        assign(value, state[name])
