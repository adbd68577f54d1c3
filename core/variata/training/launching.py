"""`train.devices: N`: starts N processes of the same command on this machine, and ends all of them where one fails.
Several machines, or a scheduler, use torchrun, which sets the same variables."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Spec
from ..errors import ConfigError, Problem, RunError
from ..plugins import registry
from ..run_folder import new_folder

_GRACE = 20.0
"""Seconds that the others have to end by themselves when one has failed, before they are killed."""
_POLL = 0.1


def launch(spec: Spec, run: str | Path | None, quiet: bool, resume: bool, live: Mapping[str, Any]) -> Path:
    """Trains a specification in as many processes as it asks for; the run's folder.

    Raises:
        ConfigError: it holds live objects, which other processes do not have.
        RunError: a process failed, with what it said; the others have been ended.
        SystemExit: training was stopped by a signal.
    """
    if live:
        message = f"other processes cannot be handed live objects ({', '.join(live)}): start your program by torchrun"
        raise ConfigError(Problem(message, "train.devices"))
    folder = Path(run) if run is not None else new_folder(None, spec.name)
    count = spec["train"].options["devices"]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / f"{spec.name.replace('/', '-')}.yaml"
        file.write_text(spec.dump(), encoding="utf-8")
        plugins = [word for p in registry().plugins if p.file is not None for word in ("--plugin", str(p.file))]
        command = [sys.executable, "-m", "variata", "train", str(file), "--run", str(folder), *plugins]
        command += ["--resume"] * resume
        said = [Path(scratch) / f"process-{rank}.txt" for rank in range(count)]
        port = _free_port()
        processes = [_start(command, rank, count, port, said[rank], quiet) for rank in range(count)]
        _wait(processes, said)
    return folder


def _start(command: list[str], rank: int, count: int, port: int, said: Path, quiet: bool) -> subprocess.Popen[bytes]:
    """The first process speaks for all; what another one says is kept for the case that it fails."""
    surroundings = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    surroundings.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    if rank == 0:
        silence = subprocess.DEVNULL
        return subprocess.Popen([*command, *(["--quiet"] * quiet)], env=surroundings, stdout=silence)
    with said.open("wb") as out:
        return subprocess.Popen([*command, "--quiet"], env=surroundings, stdout=out, stderr=out)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait(processes: list[subprocess.Popen[bytes]], said: list[Path]) -> None:
    """Until all have ended. Signals that reach this process are passed on: each process ends after its step."""

    passed: list[int] = []

    def pass_on(number: int, frame: Any) -> None:
        passed.append(number)
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    handlers = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        deadline: float | None = None
        while any(process.poll() is None for process in processes):
            failed = any(process.poll() not in (None, 0, 130, 143) for process in processes)
            if failed and deadline is None:
                deadline = time.monotonic() + _GRACE
            if deadline is not None and time.monotonic() > deadline:
                for process in processes:
                    process.kill()
            time.sleep(_POLL)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    # One that had not begun to listen, or had ended its work, was ended by the signal that was passed on to it.
    codes = [128 - p.returncode if -p.returncode in passed else p.returncode for p in processes]
    _report(codes, said)


def _report(codes: list[int], said: list[Path]) -> None:
    if any(code in (130, 143) for code in codes) and all(code in (0, 130, 143) for code in codes):
        raise SystemExit(max(codes))
    killed = {rank: code for rank, code in enumerate(codes) if code < 0}
    failed = [rank for rank, code in enumerate(codes) if code not in (0, 130, 143)]
    if killed:
        rank, code = next(iter(killed.items()))
        raise RunError(f"process {rank} was ended by {signal.Signals(-code).name}; the others were stopped")
    if failed and 0 in failed and codes[0] == 2:
        raise SystemExit(2)  # it has said why
    if failed:
        text = said[failed[0]].read_text(errors="replace").strip() if failed[0] else ""
        lines = [line for line in text.splitlines() if line.startswith("error: ")] or text.splitlines()[-1:]
        raise RunError(
            [Problem(f"process {failed[0]}: {line.removeprefix('error: ')}") for line in lines or ["failed"]]
        )
