"""Operators that variata's models spend their time in. They know nothing of models and depend on torch alone.

Each operator has a folder with its plain-torch reference; a fused form stands beside it where there is one.
"""

from .backend import KernelUnavailable
from .philox import noise
from .reparam_kl.reference import gaussian_kl, reparam_kl

__all__ = ["KernelUnavailable", "gaussian_kl", "noise", "reparam_kl"]
