"""The pictures that a run is left with."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from variata import Autoencoder, Chain, LatentVariable, NotPrepared, RunContext, Sampler

from .chains import draw_chains
from .figures import draw_curves, draw_examples, draw_pairs
from .of_text import draw_lines, lines_of, write_lines

_SAMPLES, _POINTS, _PAIRS = 64, 1000, 32


def title_of_samples(model: Sampler) -> str:
    """What the samples are draws of."""
    return "samples x ~ p(x | z), z ~ p(z)" if isinstance(model, LatentVariable) else "samples x ~ p(x)"


@torch.no_grad()
def draw_run(context: RunContext) -> None:
    """samples.png, reconstructions.png and curves.png, as far as the model can sample and reconstruct; of strings
    samples.txt too, and of a model that samples by a Markov chain chains.png."""
    model, path, spec = context.model, context.path, context.model.spec
    draw_curves(context.rows, path / "curves.png", context.spec.name)
    split = context.data.split("test")
    with torch.random.fork_rng():
        torch.manual_seed(context.spec["seed"])
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        count = _SAMPLES if spec.is_image or spec.vocabulary else _POINTS
        if isinstance(model, Sampler):
            real = split.batch(torch.arange(min(count, len(split)))).x if len(split) else None
            with suppress(NotPrepared):  # training was interrupted before what is fitted after it
                if spec.vocabulary:
                    _draw_strings(model, count, path)
                else:
                    draw_examples(model.sample(count), spec, path / "samples.png", title_of_samples(model), real)
        if isinstance(model, Chain):
            draw_chains(model, path / "chains.png")
        if isinstance(model, Autoencoder) and len(split):
            batch = split.batch(torch.arange(min(_PAIRS if spec.is_image or spec.vocabulary else _POINTS, len(split))))
            x, y = batch.x.to(device), None if batch.y is None else batch.y.to(device)
            draw_pairs(x.cpu(), model.reconstruct(x, y).cpu(), spec, path / "reconstructions.png")


def _draw_strings(model: Sampler, count: int, path: Path) -> None:
    """Samples as lines, with the sources that they were drawn for."""
    y = model.conditions.draw(count) if model.conditional else None
    lines = lines_of(model.sample(count, y), model.spec, y)
    write_lines(lines, path / "samples.txt")
    draw_lines(lines, path / "samples.png", title_of_samples(model))
