"""The pictures that an evaluation leaves, each where the model can do what it shows: codes.png, traversal.png and
interpolation.png of an autoencoder, kl.png where the KL of each dimension is known, likelihoods.png where there is a
likelihood."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from variata import (
    Autoencoder,
    Batch,
    Data,
    Density,
    Energy,
    EvaluationContext,
    LatentVariable,
    Sequences,
    Split,
    Unsupported,
    ancestral,
    log_likelihoods,
)

from .evaluation_figures import draw_bars, draw_codes, draw_histogram, draw_labelled_grid

_CODES, _LIKELIHOODS, _SAMPLES, _DRAWS = 2000, 500, 100, 2000
_MOST_ROWS, _PAIRS, _STEPS, _SIDE = 10, 6, 7, 11
_THRESHOLD = 0.01


@torch.no_grad()
def draw_evaluation(context: EvaluationContext) -> None:
    """Leaves the pictures in the run, and names them in the context."""
    model, spec = context.model, context.model.spec
    with torch.random.fork_rng():
        torch.manual_seed(context.settings.seed)
        if isinstance(model, Autoencoder):
            batch = _examples(context.data.split(context.settings.split), _CODES, context)
            codes = _codes(model, batch)
            if codes.is_floating_point():
                _draw_codes(context, codes, batch)
                if spec.is_image:
                    _draw_traversal(context, model, codes, batch)
                    _draw_interpolation(context, model, batch)
        if "kl_per_dimension" in context.estimates:
            found = context.estimates["kl_per_dimension"]
            draw_bars(found["value"], found["standard_error"], _named(context, "kl"), _THRESHOLD)
        if isinstance(model, Density | Energy | LatentVariable):
            _draw_likelihoods(context)


def _named(context: EvaluationContext, name: str) -> Path:
    context.pictures.append(context.path / f"{name}.png")
    return context.pictures[-1]


def _examples(split: Split, most: int, context: EvaluationContext) -> Batch:
    """Some examples, chosen by the seed, on the model's device."""
    chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(context.settings.seed))[:most]
    batch = split.batch(chosen.sort().values)
    device = next((p.device for p in context.model.parameters()), torch.device("cpu"))
    return Batch(batch.x.to(device), None if batch.y is None else batch.y.to(device))


def _codes(model: Autoencoder, batch: Batch) -> Tensor:
    """`[n, *latent]`."""
    y = [None] * -(-len(batch) // 500) if batch.y is None else batch.y.split(500)
    return torch.cat([model.encode(x, part) for x, part in zip(batch.x.split(500), y, strict=True)])


def _draw_codes(context: EvaluationContext, codes: Tensor, batch: Batch) -> None:
    flat = codes.flatten(1).double().cpu()
    width = flat.shape[1]
    labels = None if batch.y is None or batch.y.is_floating_point() or batch.y.ndim > 1 else batch.y.cpu()
    if width == 1:
        points, names = torch.cat([flat, torch.rand_like(flat)], dim=1), ["$z_1$", "(spread at random)"]
    elif width == 2:
        points, names = flat, ["$z_1$", "$z_2$"]
    else:
        _, singular, directions = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
        points, share = (flat - flat.mean(0)) @ directions[:2].T, singular.square() / singular.square().sum()
        names = [f"principal component {i + 1} ({share[i]:.0%} of the variance)" for i in range(2)]
    of = f"{width} dimensions of z" if width > 2 else "z"
    by = "" if labels is None else ", coloured by label"
    title = f"{of}: {len(flat)} {context.settings.split} examples{by}"
    draw_codes(points, labels, _named(context, "codes"), title, names)


def _draw_traversal(context: EvaluationContext, model: Autoencoder, codes: Tensor, batch: Batch) -> None:
    """Of two dimensions a map of the plane; of more a row each, the ones that carry most."""
    draws, whose = _draws(model, batch, codes)
    side = _SIDE if draws.shape[1] == 2 else 2 * (_STEPS // 2) + 3
    levels = torch.linspace(0.02, 0.98, side, dtype=draws.dtype, device=draws.device)
    values = draws.quantile(levels, dim=0)
    columns = [f"{float(level):.0%}" for level in levels]
    y, given = _condition(batch, model)
    if values.shape[1] == 2:
        z = torch.cartesian_prod(values[:, 1].flip(0), values[:, 0]).flip(1)
        rows, across = columns[::-1], f"quantiles of $z_1$ under {whose}; upwards those of $z_2$"
    else:
        kl = context.estimates.get("kl_per_dimension", {}).get("value", ())
        carried = torch.tensor(kl) if len(kl) == draws.shape[1] else codes.flatten(1).var(0).cpu()
        order = carried.argsort(descending=True)[:_MOST_ROWS].tolist()
        z = draws.median(0).values.repeat(len(order), side, 1)
        for row, j in enumerate(order):
            z[row, :, j] = values[:, j]
        z = z.flatten(0, 1)
        known = len(kl) == draws.shape[1]
        rows = [f"$z_{{{j + 1}}}$, {float(carried[j]):.2f} nats" if known else f"$z_{{{j + 1}}}$" for j in order]
        across = f"quantiles of one dimension under {whose}, the others at their medians"
    images = model.decode(
        z.to(codes.dtype).unflatten(1, codes.shape[1:]), None if y is None else y.expand(len(z), *y.shape[1:])
    )
    title = f"what the latent dimensions do{given}"
    draw_labelled_grid(images.cpu(), model.spec, _named(context, "traversal"), title, rows, columns, across)


def _draws(model: Autoencoder, batch: Batch, codes: Tensor) -> tuple[Tensor, str]:
    """Draws of z `[n, d]`, of the prior where codes are values of its one layer, and whose they are."""
    if isinstance(model, LatentVariable):
        try:
            found = ancestral(model, batch.x[:1], None if batch.y is None else batch.y[:1], _DRAWS)
        except Unsupported:
            pass
        else:
            if len(found.z) == 1 and found.z[0].shape[2:] == codes.shape[1:]:
                return found.z[0][:, 0].flatten(1), "p(z)"
    return codes.flatten(1), "the codes of data"


def _condition(batch: Batch, model: Any) -> tuple[Tensor | None, str]:
    """The condition of the first example, `[1, *condition]`, and what a title says of it."""
    if not model.conditional or batch.y is None:
        return None, ""
    y = batch.y[:1]
    said = f", given y = {int(y)}" if y.ndim == 1 and not y.is_floating_point() else ", given the y of one example"
    return y, said


def _draw_interpolation(context: EvaluationContext, model: Autoencoder, batch: Batch) -> None:
    """decode((1 - t) z_a + t z_b) between pairs of examples, which stand at both ends; of a conditional model both have
    the label of the first."""
    pairs = _pairs(batch, model)
    if not len(pairs):
        return
    (a, b), t = pairs.T, torch.linspace(0, 1, _STEPS, device=batch.x.device)
    given = [None, None] if not model.conditional or batch.y is None else [batch.y[a], batch.y[b]]
    start, end = model.encode(batch.x[a], given[0]), model.encode(batch.x[b], given[1])
    z = torch.lerp(start[:, None], end[:, None], t.to(start.dtype).view(1, -1, *[1] * (start.ndim - 1)))
    y = None if given[0] is None else given[0].repeat_interleave(_STEPS, 0)
    between = model.decode(z.flatten(0, 1), y).unflatten(0, z.shape[:2])
    rows = torch.cat([batch.x[a][:, None], between, batch.x[b][:, None]], dim=1)
    columns = ["a", *(f"t = {float(value):.2g}" for value in t), "b"]
    alike = " of one label" if y is not None and y.ndim == 1 else ""
    title = f"between {context.settings.split} examples a and b{alike}: decode((1 - t) z(a) + t z(b))"
    path = _named(context, "interpolation")
    draw_labelled_grid(rows.flatten(0, 1).cpu(), model.spec, path, title, [""] * len(pairs), columns, "")


def _pairs(batch: Batch, model: Any) -> Tensor:
    """Rows of examples, `[pairs, 2]`: the first ones; of a conditional model those that share a label."""
    if model.conditional and batch.y is not None and batch.y.ndim == 1 and not batch.y.is_floating_point():
        alike = [(batch.y == label).nonzero().flatten()[:2] for label in batch.y.unique()]
        alike = [rows for rows in alike if len(rows) == 2][:_PAIRS]
        return torch.stack(alike) if alike else torch.empty(0, 2, dtype=torch.int64)
    count = min(_PAIRS, len(batch) // 2)
    return torch.arange(2 * count).view(2, count).T


def _draw_likelihoods(context: EvaluationContext) -> None:
    """Of the split, and of what the model was not trained on: the data that was named, else the same examples with
    their values moved."""
    split = context.settings.split
    batch = _examples(context.data.split(split), _LIKELIHOODS, context)
    sets = {f"{split} examples": batch}
    if context.other is not None:
        sets[_name(context.other)] = _examples(_held_out(context.other), _LIKELIHOODS, context)
    else:
        sets |= _reordered(batch) if context.model.spec.vocabulary else _spoiled(batch, context.model.spec.is_image)
    values = {name: _likelihoods(context, examples) for name, examples in sets.items()}
    model = context.model
    how = "estimated by importance sampling" if isinstance(model, LatentVariable) else "up to log Z"
    if isinstance(model, Density):
        how = "exact"
    elif isinstance(model, Energy) and "log_partition" in context.estimates:
        how = "by the log Z of the table"
    title = f"log p(x) of {len(batch)} examples each, {how}"
    draw_histogram(values, _named(context, "likelihoods"), title, f"log p(x), {how} (nats)")


def _likelihoods(context: EvaluationContext, batch: Batch) -> Tensor:
    model = context.model
    if isinstance(model, Energy) and not isinstance(model, Density):  # annealing log Z once more would take its time
        constant = context.estimates.get("log_partition", {}).get("value", 0.0)
        return (-model.free_energy(batch.x)).double().cpu() - constant
    settings = replace(context.settings, samples=min(context.settings.samples, _SAMPLES))
    return log_likelihoods(model, Split(batch.x, batch.y, lambda stored: stored), settings)


def _spoiled(batch: Batch, is_image: bool) -> dict[str, Batch]:
    """The same values in other places, so that they are still of the data's kind."""
    flat = batch.x.flatten(1)
    columns = torch.stack([column[torch.randperm(len(flat), device=flat.device)] for column in flat.T], dim=1)
    found = {"each element from another example": Batch(columns.view_as(batch.x), batch.y)}
    if is_image:
        pixels = batch.x.flatten(2)
        order = torch.rand_like(pixels[:, :1]).argsort(-1).expand_as(pixels)
        found["pixels shuffled in each image"] = Batch(pixels.gather(2, order).view_as(batch.x), batch.y)
    return found


def _reordered(batch: Batch) -> dict[str, Batch]:
    """The same tokens of each string in another order."""
    x = batch.x.clone()
    for row, length in zip(x, Sequences(batch.x).lengths.tolist(), strict=True):
        row[: length - 1] = row[: length - 1][torch.randperm(length - 1, device=row.device)]
    return {"the tokens of each string in another order": Batch(x, batch.y)}


def _held_out(data: Data) -> Split:
    """The test split, or the training split where there is none."""
    test = data.split("test")
    return test if len(test) else data.split("train")


def _name(data: Data) -> str:
    return f"other data ({type(data).__name__})"
