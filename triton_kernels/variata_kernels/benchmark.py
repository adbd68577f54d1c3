r"""Times every registered operator on the GPU that is here, and records what was seen.

    python -m variata_kernels.benchmark [--tests tests/kernels] [--records docs/benchmarks]

Refuses without a GPU, and where the operators' tests on it are red. The record is one JSON file for a device and a
commit: the device, its driver, versions, the card's own copy bandwidth, the errors of each operator, and for each
operator, problem, type and mode the time of the formula run eagerly, of the formula compiled, and of the operator; with
the bytes that have to move, as a fraction of the copy bandwidth, and the peak of memory beyond the inputs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .registry import Kernel, registered

TIMES = 50
DTYPES = (torch.float32, torch.bfloat16)


def refusal(tests: Path) -> str | None:
    """Why nothing can be measured here; None where it can."""
    if not torch.cuda.is_available():
        return "no GPU: there is nothing to measure"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(tests)]
    # Triton decides between its interpreter and the device when it is imported.
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        return f"the operators' tests are red on this GPU:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return None


def output_of(*command: str) -> str:
    """What a command prints, or nothing where it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def milliseconds(run: Callable[[], Any]) -> dict[str, float]:
    """Median and quantiles of the device's time, each with a cold second-level cache."""
    flush = torch.empty(1 << 28, dtype=torch.int8, device="cuda")
    for _ in range(5):
        run()
    seen = []
    for _ in range(TIMES):
        flush.zero_()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        seen.append(start.elapsed_time(end))
    fifths = statistics.quantiles(seen, n=5)
    return {"median_ms": statistics.median(seen), "p20_ms": fifths[0], "p80_ms": fifths[-1]}


def copy_bandwidth() -> float:
    """Bytes a second that this card copies, read and written counted."""
    source = torch.empty(1 << 28, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / milliseconds(lambda: target.copy_(source))["median_ms"] * 1e3


def peak_bytes(run: Callable[[], Any]) -> int:
    """The most memory that a run takes beyond what was there."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def numbers(values: Any) -> list[Tensor]:
    """The floating tensors that hold something."""
    values = values if isinstance(values, (tuple, list)) else (values,)
    return [x for x in values if isinstance(x, Tensor) and x.is_floating_point() and x.numel()]


def measured(function: Callable[..., Any], arguments: tuple[Any, ...], moved: tuple[int, int]) -> dict[str, Any]:
    """Forward, backward, and both, of one function."""
    inputs = [x.requires_grad_() for x in numbers(arguments)]
    outputs = numbers(function(*arguments))
    upstream = [torch.randn_like(out) for out in outputs]

    def forward() -> None:
        with torch.no_grad():
            function(*arguments)

    def backward() -> None:
        torch.autograd.grad(outputs, inputs, upstream, retain_graph=True)

    def both() -> None:
        torch.autograd.grad(numbers(function(*arguments)), inputs, upstream)

    modes = {"forward": (forward, moved[0]), "backward": (backward, moved[1]), "both": (both, sum(moved))}
    seen = {}
    for mode, (run, count) in modes.items():
        timed = milliseconds(run)
        seen[mode] = timed | {"bytes": count, "bytes_per_s": count / timed["median_ms"] * 1e3, "peak": peak_bytes(run)}
    return seen


def errors(kernel: Kernel, dtype: torch.dtype) -> dict[str, float]:
    """The largest and the root mean square error of the outputs, relative to the reference's."""
    given = next(iter(kernel.cases.values()))(1000, dtype, torch.device("cuda"))
    wide = [x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in given]
    largest = mean_square = 0.0
    for one, other in zip(numbers(kernel.operator(*given)), numbers(kernel.reference(*wide)), strict=True):
        scale = other.square().mean().sqrt()
        largest = max(largest, ((one - other).abs().max() / scale).item())
        mean_square = max(mean_square, ((one - other).square().mean().sqrt() / scale).item())
    return {"max": largest, "rms": mean_square}


def rows(kernel: Kernel, bandwidth: float) -> list[dict[str, Any]]:
    """One for each problem, type, implementation and mode."""
    found = []
    for problem, sizes in kernel.problems.items():
        for dtype in DTYPES:
            implementations = {
                "eager": kernel.formula,
                "compile": torch.compile(kernel.formula),
                "fused": kernel.operator,
            }
            for name, function in implementations.items():
                where = {"operator": kernel.name, "problem": problem, "dtype": str(dtype), "implementation": name}
                torch.manual_seed(0)
                try:
                    given = kernel.problem(sizes, dtype, torch.device("cuda"))
                    seen = measured(function, given, kernel.bytes_moved(sizes, dtype.itemsize))
                except torch.cuda.OutOfMemoryError:
                    found.append(where | {"out_of_memory": True})
                    continue
                finally:
                    torch.cuda.empty_cache()
                for mode, figures in seen.items():
                    fraction = figures["bytes_per_s"] / bandwidth
                    found.append(where | {"mode": mode, "fraction_of_copy": fraction} | figures)
            torch._dynamo.reset()
    return found


def source_hash() -> str:
    """Of everything that is measured: a record made of other sources is stale."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.relative_to(Path(__file__).parent).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def record() -> dict[str, Any]:
    """Everything that is measured, and where."""
    import triton

    # A backward that is timed again and again must not give its inputs away.
    setattr(import_module("torch._functorch.config"), "donated_buffer", False)  # noqa: B010 - torch gives it no type
    bandwidth = copy_bandwidth()
    properties = torch.cuda.get_device_properties(0)
    query = "driver_version,clocks.sm,clocks.mem,power.limit,mig.mode.current"
    return {
        "device": properties.name,
        "memory_bytes": properties.total_memory,
        "driver, clocks, power limit, MIG": output_of("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "triton": triton.__version__},
        "date": time.strftime("%Y-%m-%d"),
        "commit": output_of("git", "rev-parse", "HEAD"),
        "uncommitted": bool(output_of("git", "status", "--porcelain", "--", "triton_kernels")),
        "sources": source_hash(),
        "copy_bytes_per_s": bandwidth,
        "errors": {
            name: {str(dtype): errors(kernel, dtype) for dtype in DTYPES} for name, kernel in registered().items()
        },
        "rows": [row for kernel in registered().values() for row in rows(kernel, bandwidth)],
    }


def main() -> None:
    """Measures, or says why not."""
    parser = argparse.ArgumentParser(
        prog="python -m variata_kernels.benchmark",
        description="Times every registered operator on the GPU that is here.",
    )
    parser.add_argument("--tests", type=Path, default=Path("tests/kernels"), help="the folder of the operators' tests")
    parser.add_argument("--records", type=Path, default=Path("docs/benchmarks"), help="where the record is written")
    options = parser.parse_args()
    if reason := refusal(options.tests):
        sys.exit(f"no benchmark: {reason}")
    made = record()
    device = re.sub(r"\W+", "_", made["device"]).strip("_").lower()
    path = options.records / f"kernels_{device}_{made['commit'][:12] or 'unknown'}.json"
    path.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
