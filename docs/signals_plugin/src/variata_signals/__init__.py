r"""One-dimensional signals x of shape `(channels, length)`.

    x(t) = sum_j a_j e^{-t / tau_j} sin(2 pi f_j t) + noise                    data that is made up (`oscillations.py`)
    q(z | x) = N(z; mu, diag sigma^2),  [mu | log sigma^2] = h(x / s, log s)   an encoder (`encoder.py`)

with s the root mean square of x: how loud a signal is enters once, as a number, and what it looks like is read apart
from that. h is any network; the convolutions of `conv1d.py` are one. A run of a model of signals leaves a picture of
some (`pictures.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from variata import Component, hookimpl

if TYPE_CHECKING:
    from variata import RunContext


@hookimpl
def variata_components() -> list[Component]:
    """The parts."""
    here = "variata_signals"
    return [
        Component("data", "damped_oscillations", f"{here}.oscillations:DampedOscillations", "Sums of struck modes"),
        Component("encoder", "signal", f"{here}.encoder:SignalEncoder", "Gaussian posterior; loudness stands apart"),
        Component("network", "conv1d", f"{here}.conv1d:Conv1d", "Strided convolutions of signals"),
    ]


@hookimpl
def variata_presets() -> Path:
    """signal_vae."""
    return Path(__file__).parent / "presets"


@hookimpl
def variata_run_ended(context: RunContext) -> None:
    """Leaves signals.png in the run."""
    from .pictures import draw_signals

    draw_signals(context)
