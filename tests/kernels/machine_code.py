"""Compiles every kernel of the registry for every target, on a machine that needs to have none of them.

A launch is caught, and its kernel compiled for what it would have been launched with. Prints one JSON line for each
kernel, set of arguments and target, with what the assembler says of registers and spills.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib import import_module
from typing import Any

if __name__ == "__main__":  # before torch and Triton are imported; pytest imports this file to look for examples
    os.environ["TRITON_INTERPRET"] = "0"
    os.environ["VARIATA_KERNELS"] = "triton"

import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel, compile
from triton.runtime.jit import JITFunction

from variata_kernels import backend
from variata_kernels.registry import registered

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
TYPES = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.int64: "i64",
}


def source(kernel: JITFunction, bound: dict[str, Any]) -> ASTSource:
    signature, constants, attributes = {}, {}, {}
    for i, parameter in enumerate(kernel.params):
        value = bound[parameter.name]
        if parameter.is_constexpr or value is None:
            signature[parameter.name] = "constexpr"
            constants[i,] = value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = f"*{TYPES[value.dtype]}"
            attributes[i,] = [["tt.divisibility", 16]]
        else:
            signature[parameter.name] = "i32"
    return ASTSource(kernel, signature, constants, attributes)


def spilled(compiled: CompiledKernel, target: GPUTarget) -> dict[str, int]:
    if target.backend == "hip":
        names = {"registers": "vgpr_count", "spills": "vgpr_spill_count", "stack": "private_segment_fixed_size"}
        return {
            name: int(re.findall(rf"\.{field}: *(\d+)", compiled.asm["amdgcn"])[0]) for name, field in names.items()
        }
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(compiled.asm["ptx"])
        file.flush()
        architecture = f"sm_{target.arch}{'a' if target.arch >= 90 else ''}"
        # The newest of the assemblers that come with Triton knows every target.
        command = [knobs.nvidia.ptxas_blackwell.path, "-v", "-arch", architecture, file.name, "-o", os.devnull]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    figures = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores", said)
    return {
        "registers": int(re.findall(r"Used (\d+) registers", said)[0]),
        "spills": max(int(stores) for _, stores in figures),
        "stack": max(int(stack) for stack, _ in figures),
    }


seen: set[str] = set()


def compile_only(kernel: JITFunction, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
    bound = dict(zip(kernel.arg_names, arguments, strict=False)) | options
    for name in sys.argv[1:]:
        target = TARGETS[name]
        # What NVIDIA's cards are launched with.
        threefold = {"PRECISION": "tf32x3"} if target.backend == "cuda" and "PRECISION" in bound else {}
        made = source(kernel, bound | threefold)
        key = f"{name} {kernel.module}.{kernel.__name__} {made.signature} {made.constants}"
        if key not in seen:
            seen.add(key)
            constants = {name: str(bound[name]) for name, kind in made.signature.items() if kind == "constexpr"}
            where = {"kernel": f"{kernel.module}.{kernel.__name__}", "target": name, "constants": constants}
            print(json.dumps(where | spilled(compile(made, target=target), target)), flush=True)


def main() -> None:
    JITFunction.run = compile_only  # pyright: ignore[reportAttributeAccessIssue]
    # A launch on the CPU stands for one on the target: nothing is launched.
    backend.uses_triton = lambda device: True
    for kernel in registered().values():
        for i, make in enumerate(kernel.cases.values()):
            for dtype in (torch.float32, torch.bfloat16) if i == 0 else (torch.float32,):
                given = make(256, dtype, torch.device("cpu"))
                given = [x.requires_grad_() if torch.is_tensor(x) and x.is_floating_point() else x for x in given]
                outputs = kernel.operator(*given)
                outputs = outputs if isinstance(outputs, tuple) else (outputs,)
                sum(out.float().sum() for out in outputs).backward()
    import_module("variata_kernels.philox.triton").noise(torch.tensor(1), 2, 64, 64)


if __name__ == "__main__":
    main()
