"""Several processes that train or evaluate one model, by `torch.distributed`. One process is a world of its own, in
which nothing is communicated."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from .errors import ConfigError, Problem, RunError

T = TypeVar("T")
_PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others before it gives up."""


@dataclass(frozen=True)
class World:
    """The processes that work together: this one is number `rank` of `size`; the first one alone writes."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def part(self, index: Tensor) -> Tensor:
        """The rows of a batch that fall to this process: none is left out, and none is in two parts."""
        return index if self.size == 1 else index.tensor_split(self.size)[self.rank]

    def sum(self, values: Tensor) -> Tensor:
        """The sum over processes, in place."""
        if self.size > 1:
            _told(lambda: dist.all_reduce(values))
        return values

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in their order, on each of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        _told(lambda: dist.all_gather_object(values, value))
        return values

    def shared(self, value: T) -> T:
        """The first process's value."""
        if self.size == 1:
            return value
        values = [value]
        _told(lambda: dist.broadcast_object_list(values, src=0))
        return values[0]

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Gives the first process's values to all, in place."""
        if self.size > 1:
            for tensor in tensors:
                _told(lambda tensor=tensor: dist.broadcast(tensor, src=0))

    def first_alone(self, work: Callable[[], T]) -> T:
        """Does something once in the first process, and then in the others, which find what it left (a download)."""
        if not self.first:
            self.shared(None)
            return work()
        done = work()
        self.shared(None)
        return done

    def rows(self, own: Tensor) -> tuple[Tensor, list[int]]:
        """The rows of all processes, `[rows, ...]` of each, in their order; and how many each has."""
        sizes = self.gather(len(own))
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        _told(lambda: dist.all_gather(parts, padded))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]), sizes


_alone: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Work that this process does by itself: it takes every example, and waits for nobody."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def world() -> World:
    """The processes that this one works with."""
    if not _alone.get() and dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World()


def started_by_launcher() -> bool:
    """Whether torchrun, or `train.devices`, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leave(status: int) -> None:
    """Ends a process that was one of several at once, where its work is done: threads of torch's communication that are
    still about when the interpreter is taken down can abort it, and with it a run that has succeeded."""
    if started_by_launcher():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def first_of_several() -> bool:
    """Whether this process is the one that speaks."""
    return int(os.environ.get("RANK", "0")) == 0 or not started_by_launcher()


def choose_device(name: str, path: str = "train.device") -> torch.device:
    """The device that the option at `path` names.

    Raises:
        ConfigError: torch knows no such device, or it is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros((), device=name).item()
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(Problem(f"device {name!r} cannot be used: {reason}", path)) from error


def local_device(name: str) -> str:
    """The device of this process: of several on one machine each takes a GPU of its own."""
    if not started_by_launcher() or name not in ("auto", "cuda") or not torch.cuda.is_available():
        return name
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Joins the processes that were started together; alone, or where somebody has joined them already, nothing is
    done.

    Raises:
        RunError: the others cannot be reached.
    """
    if not started_by_launcher() or (dist.is_available() and dist.is_initialized()):
        yield world()
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(backend, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"the processes cannot reach one another: {_line(error)}") from error
    try:
        yield world()
        world().gather(None)  # nobody goes while another still listens to it
    finally:
        dist.destroy_process_group()


def is_cut(value: Tensor) -> bool:
    """Whether each process holds a part of a tensor, as with `train.strategy: sharded`."""
    # By its method: the class is in a module that takes most of a second to import, for every run that cuts nothing.
    return hasattr(value, "full_tensor")


def local(value: Tensor) -> Tensor:
    """This process's part of a tensor; itself, where it is not cut."""
    return value.to_local() if is_cut(value) else value  # pyright: ignore[reportAttributeAccessIssue]


def whole(value: Tensor) -> Tensor:
    """All of a tensor; where it is cut, every process has to ask."""
    return value.full_tensor() if is_cut(value) else value  # pyright: ignore[reportAttributeAccessIssue]


@torch.no_grad()
def assign(value: Tensor, new: Tensor) -> None:
    """Copies a whole tensor into one that may be cut."""
    if is_cut(value):
        from torch.distributed.tensor import distribute_tensor

        new = distribute_tensor(new.to(value), value.device_mesh, value.placements)  # pyright: ignore
    value.copy_(new)


_gathering: ContextVar[tuple[World, bool] | None] = ContextVar("gathering", default=None)


@contextmanager
def gathering() -> Iterator[None]:
    """Within it, `gathered` reaches over all processes; they must call it equally often."""
    token = _gathering.set((world(), True))
    try:
        yield
    finally:
        _gathering.reset(token)


def gathered(x: Tensor) -> Tensor:
    """The rows of all processes, `[batch, ...]` of each -> `[sum of batches, ...]`, in the order of the processes; with
    gradients, which reach the rows wherever they came from. While one process trains, and outside training, x itself.

    What a loss needs that couples the examples of a batch: it says `gathers = True`.
    """
    now = _gathering.get()
    if now is None or now[0].size == 1:
        return x
    return _Gather.apply(x, now[0])  # pyright: ignore[reportReturnType]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, where: World) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        everybody, ctx.sizes = where.rows(x)
        ctx.where = where
        return everybody

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = ctx.where.sum(gradient.contiguous().clone())
        return total.split(ctx.sizes)[ctx.where.rank], None


def _told(communicate: Callable[[], Any]) -> None:
    """Communicates, and says in one line where it cannot: most often another process has ended."""
    try:
        communicate()
    except RuntimeError as error:
        raise RunError(f"another process of this run has ended, or cannot be reached ({_line(error)})") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
