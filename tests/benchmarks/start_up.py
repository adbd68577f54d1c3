"""CPU time of starting: `--help`, `list`, `plugins` as whole processes, and assembling the `vae` preset from YAML.

Bars: 0.5 s of CPU time each for the commands; 5 ms for reading and checking the preset (no torch module is built).

    python tests/benchmarks/start_up.py
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

import records


def command_seconds(*arguments: str) -> float:
    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    figures = []
    for _ in range(7):
        before = spent()
        subprocess.run([sys.executable, "-m", "variata", *arguments], check=True, stdout=subprocess.DEVNULL)
        figures.append(spent() - before)
    return statistics.median(figures)


def assembly_milliseconds() -> tuple[float, float]:
    """The first time in this process with everything imported, and the median of those that follow."""
    from variata.config import load_spec
    from variata.plugins import registry

    for entry in registry().entries():
        entry.load()
    figures = []
    for _ in range(51):
        start = time.process_time()
        load_spec("vae")
        figures.append((time.process_time() - start) * 1e3)
    return figures[0], statistics.median(figures[1:])


def main() -> None:
    first, median = assembly_milliseconds()
    figures = {
        f"cpu_seconds_{name.strip('-')}": round(command_seconds(name), 3) for name in ("--help", "list", "plugins")
    }
    figures |= {"assemble_vae_ms": round(median, 2), "assemble_vae_first_ms": round(first, 2)}
    records.write("start_up", figures | {"bars": {"cpu_seconds": 0.5, "assemble_vae_ms": 5.0}})


if __name__ == "__main__":
    main()
