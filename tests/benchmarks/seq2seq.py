"""Sequence to sequence on made-up strings that are turned round (20 tokens, lengths 5 to 10): the share of 1,000 test
strings that is right to the last token, with additive attention and without.

Bar: >= 0.99 with attention, and clearly fewer without.

    python tests/benchmarks/seq2seq.py                  about 2 minutes
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import records
import torch

import variata


def measured(folder: Path, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """A run of the preset, begun or gone on with, and how often it is right."""
    run = variata.train("seq2seq", settings | {"seed": seed}, run=folder, resume=True)
    found = variata.evaluate(run, metrics=["sequence_accuracy"])
    names = ("nll", "nll_per_token", "sequence_accuracy")
    figures = {n: {key: round(found[n][key], 4) for key in ("value", "standard_error")} for n in names}
    return {"settings": settings, "parameters": sum(p.numel() for p in run.model.parameters())} | figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, help="where the runs are kept, to go on with what was stopped")
    arguments = parser.parse_args()
    seed = arguments.seed
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"seed": seed, "preset": "seq2seq"}
    with tempfile.TemporaryDirectory() as folder:
        runs = arguments.runs or Path(folder)
        figures["with_attention"] = measured(runs / "with_attention", {}, seed)
        figures["without"] = measured(runs / "without", {"model.decoder.attention": None}, seed)
    figures["bars"] = {"with_attention": 0.99}
    records.write("seq2seq", figures)


if __name__ == "__main__":
    main()
