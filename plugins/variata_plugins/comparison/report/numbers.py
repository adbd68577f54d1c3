"""Numbers as a reader wants them: as many digits as their error leaves room for."""

from __future__ import annotations

import math

SIGNS = {"=": "=", "<=": "≤", ">=": "≥", "~": "~", "": ""}


def said(value: float, error: float | None = None) -> str:
    """A value with two digits of its error, or four digits of its own.

    >>> said(23.45678, 0.123), said(0.00012345), said(1234567.0), said(-3.0, 0.0)
    ('23.46', '0.0001234', '1,234,567', '−3')
    """
    if not math.isfinite(value):
        return str(value)
    places = 1 - math.floor(math.log10(error)) if error else 3 - math.floor(math.log10(abs(value))) if value else 0
    if abs(value) >= 1e9 or 0 < abs(value) < 1e-5 or places > 9:
        text = f"{value:.3e}"
    else:
        text = f"{value:,.{max(0, places)}f}"
        text = text if error or "." not in text else text.rstrip("0").rstrip(".")
    return text.replace("-", "−", 1) if value < 0 else text


def error_said(error: float) -> str:
    """An error with two digits.

    >>> error_said(0.1234), error_said(12.3), error_said(0.0)
    ('0.12', '12', '0')
    """
    return said(error, error) if error else "0"


def seconds_said(seconds: float) -> str:
    """A time.

    >>> seconds_said(0.01234), seconds_said(12.3), seconds_said(125.0), seconds_said(7322.0)
    ('12 ms', '12.3 s', '2 min 5 s', '2 h 2 min')
    """
    if seconds < 1:
        return f"{said(seconds * 1000, 10 ** math.floor(math.log10(seconds * 1000))) if seconds > 0 else 0} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two.

    >>> ticks(0.0, 10.0), ticks(0.13, 0.61)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [0.2, 0.3, 0.4, 0.5, 0.6])
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if span / (power * m) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]
