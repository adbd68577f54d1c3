"""Importing the operators imports no Triton, and everything works where there is none: in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "triton":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.startswith("triton") else find_spec(name, package)
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VARIATA_", "TRITON_"))}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def succeeds(program: str, **environment: str) -> str:
    done = run(program, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_neither_import_nor_the_registry_nor_the_cpu_imports_triton():
    succeeds(
        """
        import sys
        import torch, variata_kernels
        from variata_kernels.registry import registered
        assert len(registered()) >= 3
        x = torch.randn(4, 6, requires_grad=True)
        draw = variata_kernels.reparam_kl(x)
        (draw.z.sum() + draw.kl.sum()).backward()
        assert "triton" not in sys.modules, [name for name in sys.modules if name.startswith("triton")][:5]
        """
    )


@pytest.mark.parametrize("choice", ["auto", "torch"])
def test_every_operator_works_without_triton(choice):
    succeeds(
        BLOCKED
        + textwrap.dedent(
            """
            import torch
            from variata_kernels import reparam_kl
            from variata_kernels.registry import registered
            for kernel in registered().values():
                for make in kernel.cases.values():
                    given = make(5, torch.float32, torch.device("cpu"))
                    given = [x.requires_grad_() if torch.is_tensor(x) and x.is_floating_point() else x for x in given]
                    outputs = kernel.operator(*given)
                    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
                    wide = [x.detach().double() if torch.is_tensor(x) and x.is_floating_point() else x for x in given]
                    for one, other in zip(outputs, kernel.reference(*wide), strict=True):
                        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)
                    sum(out.sum() for out in outputs).backward()
            assert reparam_kl(torch.zeros(3, 4)).z.shape == (3, 2)
            assert "triton" not in sys.modules
            """
        ),
        VARIATA_KERNELS=choice,
    )


def test_asking_for_triton_without_it_is_an_error():
    done = run(
        BLOCKED + "import torch, variata_kernels\nvariata_kernels.reparam_kl(torch.zeros(3, 4))\n",
        VARIATA_KERNELS="triton",
        TRITON_INTERPRET="1",
    )
    assert done.returncode == 1
    assert "KernelUnavailable: VARIATA_KERNELS=triton, but triton is not installed: pip install" in done.stderr
