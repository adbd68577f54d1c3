"""What losses with a critic of codes need of an autoencoder: the shape of its codes."""

from __future__ import annotations

import torch

from variata import Autoencoder, Shape


@torch.no_grad()
def code_shape(model: Autoencoder) -> Shape:
    """The shape of one code, seen by encoding."""
    spec, training = model.spec, model.training
    like = next(model.parameters())
    y = None
    if model.conditional:
        shape = () if spec.classes else spec.condition_shape or ()
        y = torch.zeros((1, *shape), dtype=torch.int64 if spec.classes else like.dtype, device=like.device)
    model.eval()
    z = model.encode(torch.full((1, *spec.shape), max(spec.low, 0.0), dtype=like.dtype, device=like.device), y)
    model.train(training)
    return tuple(z.shape[1:])
