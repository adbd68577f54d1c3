"""Operators that variata's models spend their time in. They know nothing of models and depend on torch alone.

Each operator has a folder: the formula that autograd differentiates (`reference`), the same in plain torch with a
backward of its own (`eager`), and fused (`triton`), which is imported when it is first run and not before.
"""

from .backend import KernelUnavailable, operator, refuse_transforms
from .log_density_matrix import log_density_matrix
from .log_matmul_exp import log_matmul_exp
from .philox import noise
from .registry import Kernel, registered
from .reparam_kl import GaussianDraw, reparam_kl
from .reparam_kl.reference import gaussian_kl

__all__ = [
    "GaussianDraw",
    "Kernel",
    "KernelUnavailable",
    "gaussian_kl",
    "log_density_matrix",
    "log_matmul_exp",
    "noise",
    "operator",
    "refuse_transforms",
    "registered",
    "reparam_kl",
]
