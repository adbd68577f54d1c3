"""The options under `train`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from ..declarations import default
from ..logger import Logger
from ..objective import Optimizer

Decay = Annotated[float, Field(gt=0, lt=1)]


@dataclass(kw_only=True)
class Training:
    """The options under `train`.

    Attributes:
        epochs: how often every training example is seen.
        steps: how many steps are taken, in place of epochs.
        max_time: seconds after which training ends, whatever is left of the epochs; what came before a resume counts.
        batch_size: examples in a step, over all processes; the last batch of an epoch may be smaller.
        labelled_batch: labelled examples that stand before these in each step, where the data says `labels`; the others
            of the step count as unlabelled. null takes as many as `batch_size`, or all that there are, of a model that
            classifies, and none of others; 0 leaves each batch as it comes.
        accumulate: into how many pieces a process cuts its part of a batch, one after the other in memory; the step
            is the same.
        optimizer: of every phase that does not bring its own.
        clip: the greatest norm of a phase's gradient; null does not clip.
        clip_value: the greatest absolute value of an element of the gradient.
        ema: decay of an exponential moving average of the model's weights, with which it is validated, evaluated and
            sampled; after t steps at most (1 + t) / (10 + t).
        precision: "fp32", or the type that matrix products are computed in (automatic mixed precision).
        compile: "model" compiles each network, "step" a whole step of every phase; null compiles nothing.
        log_every: steps between two rows of metrics.jsonl.
        validate_every: epochs between two validations (and one at the end); there is none without a validation split.
        validate_steps: steps between two validations, in place of epochs.
        monitor: the quantity of the validation rows that `patience` and `keep_best` look at.
        patience: validations without a better value after which training ends; counted once every warm-up is over.
        checkpoint_every: steps between two checkpoints.
        checkpoint_minutes: minutes between two checkpoints; there is one at the end, whatever is said here.
        keep: how many of the last checkpoints stay.
        keep_best: also keep the checkpoint with the best value, and end with its weights.
        on_nonfinite: "stop" at a loss or a gradient that is not finite, or "skip" the step.
        deterministic: use only algorithms whose results do not change from run to run.
        device: "auto" takes a GPU where there is one; else a device as torch names it.
        devices: how many processes train together, each on a device of its own.
        strategy: what each process holds: "replicated" all weights, "sharded" its part of those of the networks.
        workers: processes that read data that is not in memory; null takes 2 for such data.
        loggers: what else the metrics are written to.
    """

    epochs: PositiveInt = 20
    steps: PositiveInt | None = None
    max_time: PositiveFloat | None = None
    batch_size: PositiveInt = 100
    labelled_batch: NonNegativeInt | None = None
    accumulate: PositiveInt = 1
    optimizer: Optimizer = default("optimizer", "adam")
    clip: PositiveFloat | None = None
    clip_value: PositiveFloat | None = None
    ema: Decay | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: Literal["model", "step"] | None = None
    log_every: PositiveInt = 50
    validate_every: PositiveInt = 1
    validate_steps: PositiveInt | None = None
    monitor: str = "loss"
    patience: PositiveInt | None = None
    checkpoint_every: PositiveInt | None = None
    checkpoint_minutes: PositiveFloat = 5.0
    keep: PositiveInt = 1
    keep_best: bool = False
    on_nonfinite: Literal["stop", "skip"] = "stop"
    deterministic: bool = False
    device: str = "auto"
    devices: PositiveInt = 1
    strategy: Literal["replicated", "sharded"] = "replicated"
    workers: NonNegativeInt | None = None
    loggers: tuple[Logger, ...] = ()
