"""The package zuko, without what importing it does to torch.

Rozet et al. (2022), Zuko: Normalizing flows in PyTorch, https://github.com/probabilists/zuko. Its module of
distributions, which every import of it runs, switches off the checks of all of torch's distributions in the process,
and takes away their notice of missing constraints. Only its transformations and networks are used here, which need
neither.
"""

from __future__ import annotations

from torch.distributions import Distribution

_checks, _constraints = Distribution._validate_args, Distribution.__dict__["arg_constraints"]
try:
    from zuko.flows import MaskedAutoregressiveTransform
    from zuko.lazy import LazyComposedTransform, LazyTransform
    from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform
    from zuko.utils import bisection
finally:
    Distribution._validate_args = _checks
    setattr(Distribution, "arg_constraints", _constraints)  # noqa: B010 -- torch declares it read-only

__all__ = [
    "LazyComposedTransform",
    "LazyTransform",
    "MaskedAutoregressiveTransform",
    "MonotonicAffineTransform",
    "MonotonicRQSTransform",
    "bisection",
]
