"""Ctrl-C and SIGTERM during training: the first asks for an end after the step under way, a second ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_ASKING = (signal.SIGINT, signal.SIGTERM)


class Request:
    """Whether somebody asked for an end, and by which signal; `status` is the exit status that says so."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def status(self) -> int:
        return 128 + (self.signal or signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[Request]:
    """Listens to both signals; outside the main thread, which alone may, to nothing."""
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in _ASKING}

    def ask(number: int, frame: Any) -> None:
        if request.signal is None:
            request.signal = number
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)

    for number in _ASKING:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
