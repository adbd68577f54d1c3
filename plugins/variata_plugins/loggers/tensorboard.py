"""Events for TensorBoard, in the run's folder: `tensorboard --logdir runs`. Needs `pip install variata[logging]`."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from pydantic import PositiveInt
from torch import Tensor

from variata import Autoencoder, ConfigError, Logger, Problem, RunContext, Sampler

_BESIDE = ("step", "epoch", "split")


class TensorBoard(Logger):
    """Scalars by split (`loss/train`, `loss/validation`), and at each checkpoint pictures: samples, and test examples
    above their reconstructions, where the model can make them and the data are images.

    Args:
        pictures: how many samples and examples are drawn.

    Raises:
        ConfigError: tensorboard is not installed.
    """

    def __init__(self, *, pictures: PositiveInt = 16) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            message = "tensorboard is not installed: pip install variata[logging]"
            raise ConfigError(Problem(message, "train.loggers")) from error
        self._make = SummaryWriter
        self.pictures = pictures
        self.writer: Any = None

    def started(self, context: RunContext) -> None:
        # Events after the checkpoint that the run goes on from are no longer shown.
        purge = context.step + 1 if context.step else None
        self.writer = self._make(str(context.path), purge_step=purge)

    def logged(self, context: RunContext) -> None:
        row = context.rows[-1]
        for name, value in row.items():
            if name not in _BESIDE:
                self.writer.add_scalar(f"{name}/{row['split']}", value, row["step"])

    @torch.no_grad()
    def saved(self, context: RunContext) -> None:
        model, spec = context.model, context.model.spec
        if spec.is_image:
            training = model.training
            model.eval()
            device = next((p.device for p in model.parameters()), torch.device("cpu"))
            with torch.random.fork_rng():
                torch.manual_seed(context.spec["seed"])
                if isinstance(model, Sampler):
                    self._show("samples", model.sample(self.pictures), context)
                split = context.data.split("test")
                if isinstance(model, Autoencoder) and len(split):
                    batch = split.batch(torch.arange(min(self.pictures, len(split))))
                    y = None if batch.y is None else batch.y.to(device)
                    again = model.reconstruct(batch.x.to(device), y)
                    self._show("reconstructions", torch.cat([batch.x, again.cpu()]), context)
            model.train(training)
        self.writer.flush()

    def ended(self, context: RunContext) -> None:
        self.writer.close()

    def failed(self, context: RunContext) -> None:
        self.writer.close()

    def _show(self, name: str, x: Tensor, context: RunContext) -> None:
        """Examples side by side, at most 16 in a row."""
        spec = context.model.spec
        columns = min(16, self.pictures)
        columns = columns if len(x) % columns == 0 else len(x)
        x = ((x.float().cpu() - spec.low) / (spec.high - spec.low)).clamp(0, 1)
        picture = rearrange(x, "(rows columns) c h w -> c (rows h) (columns w)", columns=columns)
        self.writer.add_image(name, picture, context.step)
