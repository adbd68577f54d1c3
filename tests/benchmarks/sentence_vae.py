"""The sentence VAE beside a language model of the same decoder, data and epochs, on all sentences of the documentation
of Python's standard library (data `docstrings`): bounds on held-out sentences in nats, and what z tells of them.

Bars, on test sentences: mutual information of x and z >= 2 nats; reconstruction with z permuted between sentences worse
by >= 1 nat; -ELBO <= the language model's NLL + 4. The KL is recorded.

    python tests/benchmarks/sentence_vae.py                  about 2 minutes
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import records
import torch

import variata

DATA = {"data.modules": None, "data.vocabulary_size": 2000}
SPLITS = ("validation", "test")
NAMES = ("nll", "elbo", "kl", "mutual_information", "permutation_gap", "nll_per_token", "active_units")
WRITER = {"use": "gru", "hidden": 128}
TRAIN = {"train.epochs": 8, "train.optimizer.lr.from": 3e-3}


def trained(preset: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """What is recorded of a run."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train(preset, DATA | TRAIN | settings | {"seed": seed}, run=Path(folder) / "run")
        seconds = time.process_time() - start
        metrics = ["permuted_codes"] if isinstance(run.model, variata.LatentVariable) else []
        parts = {split: variata.evaluate(run, split=split, samples=20, metrics=metrics) for split in SPLITS}
        torch.manual_seed(seed)
        lines = [run.model.spec.vocabulary.decode(row) for row in run.model.sample(5).tolist()]
    figures = {split: {name: rounded(found[name]) for name in NAMES if name in found} for split, found in parts.items()}
    return {"settings": settings, "cpu_seconds": round(seconds, 1)} | figures | {"samples": lines}


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    return {key: round(found[key], 3) for key in ("value", "standard_error") if found[key] is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    torch.set_num_threads(1)
    model = {"model.decoder": WRITER | {"dropout": 0.2}}
    language = trained("language_model", model, seed)
    writer = WRITER | {"dropout": 0.2, "word_dropout": 0.3}
    model = {"model.encoder.reader.hidden": 128, "model.decoder.writer": writer}
    model |= {"loss.bound.beta.epochs": 4, "loss.bound.free_bits": 0.25, "loss.weight": 0.3, "loss.hidden": 128}
    vae = trained("sentence_vae", model, seed)
    excess = {split: round(-vae[split]["elbo"]["value"] - language[split]["nll"]["value"], 3) for split in SPLITS}
    figures: dict[str, Any] = {
        "seed": seed,
        "text": f"docstrings of Python {platform.python_version()}",
        "data": DATA,
        "train": TRAIN,
        "language_model": language,
        "sentence_vae": vae,
        "negative_elbo_less_nll_of_the_language_model": excess,
        "bars": {"mutual_information": 2.0, "permutation_gap": 1.0, "negative_elbo_less_nll": 4.0},
    }
    records.write("sentence_vae", figures)


if __name__ == "__main__":
    main()
