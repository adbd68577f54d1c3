"""The contract that every preset of every plugin keeps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..annealing import anneal, even_schedule, exact_log_partition
from ..assembly import Assembly, assemble, finish, prepare
from ..checkpoint import load_weights, own_state, save_weights
from ..config import load_spec
from ..data import Batch, DataSpec
from ..interfaces import Autoencoder, Energy, LatentVariable, Sampler
from ..objective import Now
from ..sequences import PADDING, Sequences
from ..training import Loop


def check_preset(name: str, overrides: Any = (), steps: int = 30, seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    """Builds a preset, trains it for some steps for each seed, and checks everything below."""
    spec = load_spec(name, overrides)
    again = load_spec(name, overrides)
    assert spec == again, f"{name}: reading it twice gives two specifications"
    assemblies = [_prepared(name, overrides, seed) for seed in seeds]
    for seed, assembly in zip(seeds, assemblies, strict=True):
        before, after = check_training(assembly, steps)
        what = f"what must fall (`falling`) did not in {steps} steps ({before:g} -> {after:g})"
        assert after < before, f"{name}, seed {seed}: {what}"
    assembly = assemblies[0]
    assert assembly.data is not None
    finish(assembly.model, assembly.data)
    check_round_trip(assembly)
    check_sampling(assembly.model)
    check_terms(assembly.model, first_batch(assembly))
    check_saving(assembly)


def first_batch(assembly: Assembly, size: int = 64) -> Batch:
    """The first training examples."""
    assert assembly.data is not None
    split = assembly.data.split("train")
    rows = torch.arange(len(split))
    if split.labelled is not None:  # as in training, where labelled ones stand before the others
        rows = torch.cat([split.labelled_rows()[: size // 2], rows])
    return split.batch(rows[:size])


def check_training(assembly: Assembly, steps: int) -> tuple[float, float]:
    """Trains on one batch; every parameter must get a gradient or move in some phase.

    Returns:
        What must fall (`falling`), before and after, on that batch and with the same noise.
    """
    model, loss = assembly.model, assembly.loss
    batch = first_batch(assembly)
    assert assembly.data is not None
    train = assembly.data.split("train")
    training = assembly.training
    if any(phase.during != (0.0, 1.0) for phase in loss.phases(model)):  # each has its turn within these steps
        training = replace(training, steps=steps)
    loop = Loop(model, loss, training, train, train, seed=0)
    started = Now(loop.clock)
    value = falling(loop)
    before = value(loop, batch, started)
    start = {name: value.clone() for name, value in model.named_parameters()}
    start |= {f"loss.{name}": value.clone() for name, value in loss.named_parameters()}
    for _ in range(steps):
        loop.step(batch)
    now = dict(model.named_parameters()) | {f"loss.{name}": value for name, value in loss.named_parameters()}
    still = [name for name, value in start.items() if now[name].requires_grad and torch.equal(value, now[name])]
    if len(loop.phases) > 1:  # a gradient may be zero where two players' terms cancel, as that of a critic's constant
        used = in_graph(loop, batch, started)
        still = [name for name in still if id(now[name]) not in used]
    assert not still, f"{type(model).__name__}: no phase moves {', '.join(still)}"
    return before, value(loop, batch, started)


def in_graph(loop: Loop, batch: Batch, now: Now) -> set[int]:
    """Identities of the parameters that some phase's objective is a function of."""
    found: set[int] = set()
    for phase in loop.phases:
        total = phase.loss(loop.model, batch, now).total()
        gradients = torch.autograd.grad(total, phase.parameters, allow_unused=True)
        found |= {id(p) for p, gradient in zip(phase.parameters, gradients, strict=True) if gradient is not None}
    return found


def falling(loop: Loop) -> Callable[[Loop, Batch, Now], float]:
    """What training must make smaller: the loss, with every schedule at its start (a warm-up would raise what it is
    compared with); of an energy model -log p(x), since the surrogates that such models are trained by need not fall.
    Nor need the losses of several players: there it is the error of reconstructions, or the energy distance between
    samples and examples."""
    if isinstance(loop.model, Energy):
        return energy_nll
    if len(loop.phases) == 1:
        return objective_value
    return reconstruction_error if isinstance(loop.model, Autoencoder) else energy_distance


@torch.no_grad()
def reconstruction_error(loop: Loop, batch: Batch, now: Now) -> float:
    """Mean squared error of the batch's reconstructions."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return float((loop.model.reconstruct(batch.x, batch.y) - batch.x).square().mean())


@torch.no_grad()
def energy_distance(loop: Loop, batch: Batch, now: Now) -> float:
    """2 E|x - x'| - E|x - x| - E|x' - x'| between examples x and samples x' (Szekely and Rizzo, 2013), less what the
    samples do not change."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x, drawn = batch.x.flatten(1), loop.model.sample(200).flatten(1)
    among = torch.cdist(drawn, drawn).sum() / (len(drawn) * (len(drawn) - 1))
    return float(2 * torch.cdist(x, drawn).mean() - among)


@torch.no_grad()
def objective_value(loop: Loop, batch: Batch, now: Now) -> float:
    """The sum of all phases' objectives at one moment, with noise of a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return sum(float(phase.loss(loop.model, batch, now).total()) for phase in loop.phases)


@torch.no_grad()
def energy_nll(loop: Loop, batch: Batch, now: Now) -> float:
    """-log p(x) of the batch, with log Z enumerated or annealed with noise of a fixed seed."""
    model: Energy = loop.model
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exact = exact_log_partition(model)
        partition = anneal(model, even_schedule(200), 100).value if exact is None else exact
    return float(model.free_energy(batch.x).double().mean()) + partition


def check_round_trip(assembly: Assembly) -> None:
    """What is saved reads back to an equal specification, which is saved alike."""
    text = assembly.spec.dump()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spec.yaml"
        file.write_text(text, encoding="utf-8")
        again = load_spec(file)
    assert again.dump() == text, "a saved specification reads back to another one"


def check_support(x: torch.Tensor, spec: DataSpec) -> None:
    """Every value is one that the data may have."""
    assert x.isfinite().all(), "values that are not finite"
    if spec.support == "binary":
        assert ((x == 0) | (x == 1)).all(), "values that are neither 0 nor 1"
    if spec.support == "levels":
        assert spec.levels is not None
        steps = (x - spec.low) / (spec.high - spec.low) * (spec.levels - 1)
        assert (steps - steps.round()).abs().max() < 1e-3, "values between the levels"
    if spec.support == "tokens":
        strings = Sequences(x)
        assert (x[:, strings.tokens.shape[1] :] == PADDING).all(), "tokens after the end"
        assert (strings.tokens == x[:, : strings.tokens.shape[1]]).all(), "tokens after the end"
        assert ((strings.tokens > PADDING) == strings.mask).all(), "padding before the end"
        assert x.max() < (spec.levels or 0), "tokens beyond the vocabulary"
    if spec.support in ("levels", "interval"):
        assert x.min() >= spec.low - 1e-6, "values below the least one"
        assert x.max() <= spec.high + 1e-6, "values above the greatest one"
    for values, column in zip(x.T, spec.columns, strict=True) if spec.columns else ():
        if column.kind != "numeric":
            assert (values == values.round()).all(), f"{column.name}: values that are no whole numbers"
            assert values.min() >= 0, f"{column.name}: values below zero"
        if column.levels:
            assert values.max() < len(column.levels), f"{column.name}: values beyond its levels"


@torch.no_grad()
def check_sampling(model: Any, n: int = 5) -> None:
    """Samples have the shape and, unless the model is a density on levels, the support of the data; a seed repeats."""
    if not isinstance(model, Sampler):
        return
    drawn = []
    for seed in (0, 0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            drawn.append(model.sample(n))
    assert drawn[0].shape == (n, *model.spec.shape), f"samples of shape {list(drawn[0].shape)}"
    assert torch.equal(drawn[0], drawn[1]), "two draws with one seed differ"
    assert not torch.equal(drawn[0], drawn[2]), "two draws with two seeds are equal"
    if model.spec.measure == "counting" or model.spec.columns:
        check_support(drawn[0], model.spec)


@torch.no_grad()
def check_terms(model: Any, batch: Batch) -> None:
    """Shapes with and without a samples axis; a batch's examples do not depend on one another."""
    if isinstance(model, Autoencoder):
        assert model.reconstruct(batch.x, batch.y).shape == batch.x.shape, "a reconstruction of another shape"
    if not isinstance(model, LatentVariable):
        return
    model.eval()
    size = len(batch)
    for samples, shape in ((None, (size,)), (1, (1, size)), (3, (3, size))):
        terms = model.terms(batch.x, batch.y, samples)
        assert terms.log_likelihood.shape == shape, f"log p(x | z) of shape {list(terms.log_likelihood.shape)}"
        assert terms.log_weights().shape == shape, "log weights of another shape"
        assert terms.elbo.shape == (size,), "an ELBO of another shape"
        assert (terms.elbo - (terms.reconstruction - terms.kl)).abs().max() < 1e-5, "elbo is not reconstruction - kl"
    y = None if batch.y is None else batch.y[:1]
    alone, among = model.encode(batch.x[:1], y), model.encode(batch.x, batch.y)[:1]
    assert torch.allclose(alone, among, atol=1e-5), "an example's code depends on the other examples of its batch"
    model.train()


def check_saving(assembly: Assembly) -> None:
    """Saved and loaded, a model built anew has equal numbers."""
    spec = assembly.spec
    with tempfile.TemporaryDirectory() as folder:
        save_weights(assembly.model, Path(folder) / "model.safetensors")
        again = assemble(spec, assembly.model.spec).model
        load_weights(again, Path(folder) / "model.safetensors")
    for (name, value), other in zip(own_state(assembly.model).items(), own_state(again).values(), strict=True):
        assert torch.equal(value, other), f"{name} is not what was saved"


def _prepared(name: str, overrides: Any, seed: int) -> Assembly:
    spec = load_spec(name, overrides)
    spec.root.options["seed"] = seed
    assembly = assemble(spec)
    prepare(assembly.model, assembly.data)
    prepare(assembly.loss, assembly.data)
    return assembly
