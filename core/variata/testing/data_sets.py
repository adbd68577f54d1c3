"""The checks of data sets: what `spec` says is what batches hold; splits do not depend on the seed of a run."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, cast, get_args

import torch

from ..assembly import Builder
from ..config import load_part
from ..data import Data, DataSpec, FactorData, SplitName
from .laws import NotApplicable
from .presets import check_support
from .subject import Subject


def check_spec(subject: Subject) -> None:
    """Batches have the shape, the type, the support and the labels that `spec` says."""
    data: Data = subject.build()
    spec = getattr(data, "spec", None)
    assert isinstance(spec, DataSpec), "does not say what an example is: set self.spec to a DataSpec"
    assert len(data.split("train")), "its training split is empty"
    for name in get_args(SplitName):
        split = data.split(cast(SplitName, name))
        if not len(split):
            continue
        batch = split.batch(torch.arange(min(64, len(split))))
        n = len(batch)
        assert batch.x.shape == (n, *spec.shape), f"{name}: x of the shape {list(batch.x.shape)}"
        assert batch.x.is_floating_point(), f"{name}: x is {batch.x.dtype}, and not floating point"
        check_support(batch.x, spec)
        if spec.classes is not None:
            assert batch.y is not None and batch.y.shape == (n,), f"{name}: there are classes, and no label for each x"
            assert not batch.y.is_floating_point() and 0 <= int(batch.y.min()) <= int(batch.y.max()) < spec.classes, (
                f"{name}: labels that are no integers from 0 to {spec.classes - 1}"
            )
        elif spec.condition is not None:
            assert batch.y is not None and batch.y.shape == (n, *spec.condition), f"{name}: y of another shape"
        else:
            assert batch.y is None, f"{name}: there is a y of which spec says nothing"


def check_splits(subject: Subject) -> None:
    """Built twice, with torch seeded differently, it holds the same; an index gives the same row in any batch."""
    part = load_part(subject.kind, subject.name, subject.options)
    found = []
    with torch.random.fork_rng(devices=[]):
        for seed in (0, 1):
            torch.manual_seed(seed)
            data = Builder().construct(part, {})
            found.append({name: data.split(name) for name in get_args(SplitName)})
    for name in get_args(SplitName):
        one, other = (splits[name] for splits in found)
        assert len(one) == len(other), f"{name}: built again, it has another size"
        if len(one):
            rows = torch.arange(min(32, len(one)))
            first, again = (_quiet(partial(s.batch, rows)) for s in (one, other))
            assert torch.equal(first.x, again.x), (
                f"{name}: built again, it holds other examples: give it a seed of its own"
            )
            assert (first.y is None) == (again.y is None), f"{name}: built again, it holds other labels"
            assert first.y is None or torch.equal(first.y, again.y), f"{name}: built again, it holds other labels"
            assert one.transform is not None or torch.equal(one.batch(rows[-1:]).x, first.x[-1:]), (
                f"{name}: a row is another one in another batch"
            )


def _quiet(read: Callable[[], Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return read()


def check_generator(subject: Subject) -> None:
    """Building it leaves torch's generator as it was: data must not move what a seed means for training."""
    part = load_part(subject.kind, subject.name, subject.options)
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        Builder().construct(part, {})
        assert torch.equal(torch.get_rng_state(), before), "building it draws from torch's own generator"


def check_order(subject: Subject) -> None:
    """An epoch's order is every row once, and a function of the generator alone."""
    split = subject.build().split("train")
    one, again = (split.order(torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(one, again), "an order is no function of the generator alone"
    assert torch.equal(one.sort().values, torch.arange(len(split))), "an order leaves rows out, or gives some twice"


def check_pickling(subject: Subject) -> None:
    """It can be sent to another process, which reads the same."""
    data: Data = subject.build()
    try:
        copy = pickle.loads(pickle.dumps(data))
    except Exception as error:
        raise AssertionError(f"cannot be pickled, as for another process: {type(error).__name__}: {error}") from error
    rows = torch.arange(min(8, len(data.split("train"))))
    one, other = (_quiet(lambda d=d: d.split("train").batch(rows)) for d in (data, copy))
    assert torch.equal(one.x, other.x), "pickled, it holds other examples"


def check_factors(subject: Subject) -> None:
    """Data that is made from factors makes any combination of them, the same each time."""
    built = subject.build()
    if not isinstance(built, FactorData):
        raise NotApplicable("is not made from factors")
    data: FactorData = built
    values = torch.stack([torch.arange(4) % factor.values for factor in data.factors], 1)
    one, again = (_quiet(lambda: data.render(values)) for _ in range(2))
    assert one.x.shape == (4, *data.spec.shape), f"renders the shape {list(one.x.shape)}"
    assert torch.equal(one.x, again.x), "renders one combination in two ways"
    check_support(one.x, data.spec)


DATA = {
    "spec": check_spec,
    "splits": check_splits,
    "generator": check_generator,
    "order": check_order,
    "pickling": check_pickling,
    "factors": check_factors,
}
