"""The benchmark refuses where it would measure nothing, and compares like with like. No figure without a record."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from variata_kernels import benchmark
from variata_kernels.registry import Kernel, registered

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "docs" / "kernels.md", *sorted((ROOT / "triton_kernels").rglob("README.md"))]
# A number with a unit of time or of bandwidth, or a ratio of speeds.
FIGURE = re.compile(
    r"(?<![\w.^])(\d+(?:\.\d+)?) ?(us|ms|ns|seconds|GB/s|TB/s|MiB|GiB|x faster|x slower|times faster|times the|%)(?!\w)"
)


def test_without_a_gpu_nothing_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no GPU" in (benchmark.refusal(tmp_path) or "")


@pytest.mark.parametrize("green", [True, False])
def test_on_a_red_test_nothing_is_measured(green, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: needs a GPU\n")
    (tmp_path / "test_gpu.py").write_text(f"import pytest\n\n@pytest.mark.gpu\ndef test_it():\n    assert {green}\n")
    assert (benchmark.refusal(tmp_path) is None) == green


def test_where_no_test_is_run_nothing_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "red" in (benchmark.refusal(tmp_path) or "")


@pytest.mark.parametrize("kernel", registered().values(), ids=lambda kernel: kernel.name)
def test_the_formula_is_the_same_function(kernel: Kernel):
    sizes = tuple(min(size, 5) for size in next(iter(kernel.problems.values())))
    given = kernel.problem(sizes, torch.float32, torch.device("cpu"))
    actual = benchmark.numbers(kernel.operator(*given))
    expected = benchmark.numbers(kernel.formula(*given))
    assert [x.shape for x in actual] == [x.shape for x in expected]
    # The formula draws its own noise: z apart, the results are functions of the inputs.
    first = 1 if kernel.name == "variata::reparam_kl" else 0
    for one, other in zip(actual[first:], expected[first:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", registered().values(), ids=lambda kernel: kernel.name)
def test_the_bytes_hold_at_least_inputs_and_outputs(kernel: Kernel):
    for sizes in kernel.problems.values():
        small = tuple(min(size, 6) for size in sizes)
        given = kernel.problem(small, torch.float32, torch.device("cpu"))
        results = benchmark.numbers(kernel.operator(*given))
        forward, backward = kernel.bytes_moved(small, 4)
        moved = sum(x.nbytes for x in [*benchmark.numbers(given), *results])
        assert forward == moved
        assert backward >= moved
        assert kernel.bytes_moved(small, 2)[0] < forward


def figures(text: str) -> list[tuple[str, str]]:
    return FIGURE.findall(text)


def test_a_figure_is_recognised():
    assert figures("takes 3.5 us, 2 GB/s, 12 % of it, 4x faster and 1.2x faster") == [
        ("3.5", "us"),
        ("2", "GB/s"),
        ("12", "%"),
        ("4", "x faster"),
        ("1.2", "x faster"),
    ]
    assert not figures("2^21 elements, float32 in 3N, sm_80, 8 bytes")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_figure_is_in_a_record(path: Path):
    recorded: set[str] = set()

    def collect(value: object) -> None:
        if isinstance(value, dict):
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)
        elif isinstance(value, (int, float)):
            recorded.update({str(value), f"{value:.2f}", f"{value:.1f}", f"{value:.0f}"})

    for record in (ROOT / "docs" / "benchmarks").glob("*.json"):
        content = json.loads(record.read_text(encoding="utf-8"))
        # A record of kernels holds for the sources that it was made of.
        if "sources" not in content or content["sources"] == benchmark.source_hash():
            collect(content)
    missing = [" ".join(figure) for figure in figures(path.read_text(encoding="utf-8")) if figure[0] not in recorded]
    assert not missing
