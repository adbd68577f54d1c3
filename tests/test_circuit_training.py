"""How circuits are trained, in float64: expectation maximisation against its guarantee, the Chow-Liu tree against all
trees, and what a run keeps of a structure that was learned."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import variata
from variata import Batch, ConfigError, Density, Model, Now, Objective, Optimizer, Phase, Term
from variata.data import Data, DataSpec, Split
from variata.training import Loop, Training
from variata_plugins.circuits import leaves
from variata_plugins.circuits.em import EM, ByEM
from variata_plugins.circuits.model import Circuit
from variata_plugins.circuits.poon_domingos import PoonDomingos
from variata_plugins.circuits.rat import RAT
from variata_plugins.circuits.structure import Mixture
from variata_plugins.circuits.trees import HCLT, ChowLiu
from variata_plugins.likelihood.nll import NLL

F64 = torch.float64
CASES = {
    "hclt": ((6,), 2, HCLT, {"units": 3}, leaves.Bernoulli),
    "hclt of levels": ((5,), 4, HCLT, {"units": 2}, leaves.Categorical),
    "mixture": ((5,), 2, Mixture, {"units": 4}, leaves.Bernoulli),
    "poon_domingos": ((1, 3, 3), 3, PoonDomingos, {"units": 2, "delta": 1}, leaves.Binomial),
    "rat": ((8,), 2, RAT, {"units": 2, "depth": 2, "repetitions": 3}, leaves.Bernoulli),
}


def made(name: str) -> tuple[Circuit, Tensor]:
    """A prepared circuit, and examples that lie around three centres."""
    shape, levels, structure, options, leaf = CASES[name]
    spec = DataSpec(shape, "binary" if levels == 2 else "levels", levels=levels)
    centre = torch.randint(levels, (3, *shape))[torch.randint(3, (60,))]
    level = torch.where(torch.rand(60, *shape) < 0.3, torch.randint(levels, (60, *shape)), centre)
    x = level.double() / (levels - 1)
    model = Circuit(spec, structure=lambda data: structure(data, **options), leaves=leaf).double()
    model.prepare([Batch(x)])
    return model, x


def loop(model: Circuit, x: Tensor, lr: float, pseudocount: float, **training: object) -> Loop:
    """Full batches of expectation maximisation."""
    loss = ByEM(model, optimizer=EM(lr=lr, pseudocount=pseudocount))
    options = Training(**({"epochs": 1, "batch_size": len(x)} | training))
    return Loop(model, loss, options, Split(x, transform=lambda rows: rows), Split(x[:0]), 0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("pseudocount", [0.0, 2.0])
def test_a_full_step_of_em_never_lowers_what_it_climbs(name, pseudocount):
    model, x = made(name)
    training = loop(model, x, 1.0, pseudocount)

    def climbed() -> float:
        prior = sum((p.sum() * pseudocount / p.shape[1] for p in model.parameters()), torch.zeros((), dtype=F64))
        return float((model.log_prob(x).sum() + (prior if pseudocount else 0.0)).detach())

    values = [climbed()]
    for _ in range(25):
        training.step(Batch(x))
        values.append(climbed())
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(values)), values
    assert values[-1] > values[0] + 1
    for parameter in model.parameters():
        torch.testing.assert_close(parameter.exp().sum(1), torch.ones_like(parameter[:, 0]))


def test_a_step_of_em_moves_a_mixture_to_its_responsibilities():
    model, x = made("mixture")
    theta, weights = model.leaves.log_probabilities().detach(), model.log_weights()[0][0, :, 0].detach()
    terms = x[:, :, None] * theta[:, 1] + (1 - x[:, :, None]) * theta[:, 0]
    share = (weights + terms.sum(1)).softmax(1)
    alpha, lr = 0.6, 0.25
    expected = (1 - lr) * weights.exp() + lr * (share.sum(0) + alpha / 4) / (len(x) + alpha)
    ones = torch.einsum("bv,bk->vk", x, share)
    of_ones = (1 - lr) * theta[:, 1].exp() + lr * (ones + alpha / 2) / (share.sum(0) + alpha)
    loop(model, x, lr, alpha).step(Batch(x))
    torch.testing.assert_close(model.weights[0][0, :, 0].exp(), expected)
    torch.testing.assert_close(model.leaves.theta[:, 1].exp(), of_ones)


def test_em_goes_on_from_a_model_that_gradients_trained():
    model, x = made("rat")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape[0], 1, *parameter.shape[2:], dtype=F64))
    before = model.log_prob(x)
    training = loop(model, x, 1.0, 0.0)
    torch.testing.assert_close(model.log_prob(x), before)
    torch.testing.assert_close(model.log_density(x, normalise=False), before)
    training.step(Batch(x))
    assert model.log_prob(x).sum() > before.sum()


def test_weights_that_are_never_used_stay_finite():
    model, x = made("mixture")
    with torch.no_grad():
        model.weights[0].copy_(torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=F64).log()[None, :, None])
    loop(model, x, 1.0, 0.0).step(Batch(x))
    assert model.log_prob(x).isfinite().all()
    assert not any(parameter.isnan().any() for parameter in model.parameters())


def test_counts_are_not_clipped_and_the_loss_of_a_sum_is_logged_for_an_example():
    rows = {}
    for clip in (None, 1e-3):
        torch.manual_seed(0)
        model, x = made("hclt")
        training = loop(model, x, 0.5, 0.1, clip=clip)
        log: list[dict[str, float]] = []
        training.run(log.append, lambda: None, lambda: False)
        rows[clip] = log
        assert log[0]["loss"] == pytest.approx(-log[0]["log_likelihood"])
    assert rows[None] == rows[1e-3]


def test_sums_of_logarithms_are_not_in_mixed_precision():
    model, x = made("hclt")
    model, x = model.float(), x.float()
    expected = model.log_prob(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.log_prob(x), expected)


def test_train_clip_holds_for_other_phases():
    class Line(Model):
        def __init__(self) -> None:
            super().__init__(DataSpec((1,), "real"))
            self.slope = nn.Parameter(torch.zeros(()))

    class Steep(variata.OnePhaseLoss):
        def forward(self, model: Line, batch: Batch, now: Now) -> Objective:
            return Objective({"steep": Term(-100 * model.slope.expand(len(batch)))})

    class Plain(Optimizer):
        lr = 1.0

        def build(self, parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
            return torch.optim.SGD(parameters, lr)

    model = Line()
    x = torch.zeros(4, 1)
    options = Training(epochs=1, batch_size=4, optimizer=Plain(), clip=1.0)
    Loop(model, Steep(), options, Split(x), Split(x[:0]), 0).step(Batch(x))
    assert model.slope.item() == pytest.approx(1.0)
    assert Phase(name="x", loss=Steep(), parameters=[]).clip


def test_the_chow_liu_tree_is_at_least_as_likely_as_every_other_tree():
    for n in range(2, 6):
        x = (torch.rand(30, 1) + 0.4 * torch.randn(30, n) > 0.5).double()
        x[0], x[1] = 0, 1
        model = Circuit(
            DataSpec((n,), "binary", levels=2),
            structure=lambda data: ChowLiu(data, alpha=0.0),
            leaves=leaves.Indicator,
        ).double()
        model.prepare([Batch(x)])
        pairs = list(itertools.combinations(range(n), 2))
        trees = [edges for edges in itertools.combinations(pairs, n - 1) if is_tree(edges, n)]
        best = max(likelihood(x, edges) for edges in trees)
        assert float(model.log_prob(x).sum().detach()) == pytest.approx(best, abs=1e-9)


def is_tree(edges: tuple[tuple[int, int], ...], n: int) -> bool:
    group = list(range(n))
    for i, j in edges:
        old, new = group[i], group[j]
        if old == new:
            return False
        group = [new if g == old else g for g in group]
    return True


def likelihood(x: Tensor, edges: tuple[tuple[int, int], ...]) -> float:
    """Of the training data under a tree with the frequencies of its edges, sum_i log p(x_i) + sum_ij log p(x_i, x_j) /
    (p(x_i) p(x_j))."""

    def frequency(columns: Tensor) -> Tensor:
        same = (columns[:, None] == columns).all(2)
        return same.double().mean(1)

    single = [frequency(x[:, [i]]) for i in range(x.shape[1])]
    total = sum(float(p.log().sum()) for p in single)
    return total + sum(float((frequency(x[:, [i, j]]) / (single[i] * single[j])).log().sum()) for i, j in edges)


def write(folder: Path) -> Path:
    """A data set of the format of the density-estimation sets."""
    for part, count in (("train", 60), ("valid", 10), ("test", 10)):
        x = (torch.rand(count, 1) + 0.3 * torch.randn(count, 5) > 0.5).int().tolist()
        (folder / f"toy.{part}.data").write_text("\n".join(",".join(map(str, row)) for row in x))
    return folder


@pytest.mark.parametrize("name", ["chow_liu", "hclt"])
def test_a_run_is_loaded_without_its_data(tmp_path, name):
    settings = {"data": {"use": "debd", "name": "toy", "root": str(write(tmp_path))}, "train.epochs": 2}
    run = variata.train(name, settings, run=tmp_path / "run")
    x = torch.rand(20, 5).round()
    expected = run.model.log_prob(x)
    metrics = variata.evaluate(run)
    assert metrics["log_likelihood"]["kind"] == "exact"
    for file in tmp_path.glob("toy.*"):
        file.unlink()
    loaded = variata.load(tmp_path / "run").model
    assert torch.equal(loaded.log_prob(x), expected)
    assert torch.equal(loaded.variable, run.model.variable)
    fresh = variata.build(name, {"data": {"use": "debd", "name": "toy", "root": str(write(tmp_path))}}).model
    with pytest.raises(variata.NotPrepared):
        fresh.log_prob(x)


def test_one_step_of_em_leaves_a_chow_liu_tree_where_it_is(tmp_path):
    data = {"use": "debd", "name": "toy", "root": str(write(tmp_path))}
    assembly = variata.build("chow_liu", {"data": data})
    variata.prepare(assembly.model, assembly.data)
    x = torch.rand(20, 5).round()
    exact = assembly.model.log_prob(x)
    run = variata.train("chow_liu", {"data": data}, run=tmp_path / "run")
    torch.testing.assert_close(run.model.log_prob(x), exact, rtol=1e-3, atol=1e-3)


def test_em_is_refused_for_gradients_that_are_no_counts(command, tmp_path):
    for preset, settings in (("vae", []), ("hclt", ["loss=nll"])):
        settings = [*settings, "train.optimizer={use: em}", "train.epochs=1", "--quiet", "--run", tmp_path / preset]
        status, _, err = command("train", preset, *settings)
        assert status == 2
        assert "em moves log-probabilities by the counts in their gradients: set loss=em, or another optimizer" in err
        assert err.count("\n") == 1


BAD = {
    "Bernoulli is a law of binary data": ("hclt", ["data.binarize=none"]),
    "ChowLiu needs leaves: indicator": ("chow_liu", ["model.leaves=bernoulli"]),
    "indicators need as many units as levels: 2 (got 32)": ("hclt", ["model.leaves=indicator"]),
    "poon_domingos cuts images": ("poon_domingos", ["data={use: blobs}", "model.leaves=gaussian"]),
    "low must be less than high (got 2 and 1)": ("gaussian_mixture", ["model.leaves.low=2", "model.leaves.high=1"]),
    "needs its own optimizer (use: em)": ("hclt", ["loss.optimizer=adam"]),
    "needs a model that is a Circuit, and vae is not": ("vae", ["loss=em"]),
    "needs a model that is a Density, and vae is not": ("vae", ["loss=nll"]),
    "model.structure.units: must be greater than 0": ("rat_spn", ["model.structure.units=0"]),
    "model.structure.unit: unknown option, did you mean units?": ("rat_spn", ["model.structure.unit=3"]),
}


@pytest.mark.parametrize("message", BAD)
def test_what_does_not_fit_is_said_in_one_line(command, message):
    name, settings = BAD[message]
    status, _, err = command("check", name, *settings)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


def test_many_levels_have_no_chow_liu_tree_and_a_hidden_one():
    spec = DataSpec((3,), "levels", levels=256)
    with pytest.raises(ConfigError, match="up to 32 levels; use hclt"):
        ChowLiu(spec)
    x = torch.randn(200, 1) @ torch.ones(1, 3) + torch.randn(200, 3) * torch.tensor([0.1, 0.1, 3.0])
    graph = HCLT(spec, units=2).graph([Batch(x)])
    near = {frozenset(edge) for edge in zip(graph.variable.tolist(), graph.variable.tolist()[1:], strict=False)}
    assert frozenset({0, 1}) in near


def test_every_density_can_be_trained_by_nll():
    class Coin(Density):
        def __init__(self, data: DataSpec) -> None:
            super().__init__(data)
            self.logit = nn.Parameter(torch.zeros(()))

        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return (x * self.logit - nn.functional.softplus(self.logit)).sum(1)

    class Coins(Data):
        spec = DataSpec((1,), "binary", levels=2)

        def split(self, name: str) -> Split:
            return Split(torch.tensor([[1.0], [1.0], [1.0], [0.0]]))

    model = Coin(Coins.spec)
    training = Training(epochs=200, optimizer=variata.registry().find("optimizer", "adam").load()(lr=0.1))
    split = Coins().split("train")
    Loop(model, NLL(), training, split, split, 0).run(lambda row: None, lambda: None, lambda: False)
    assert model.logit.sigmoid().item() == pytest.approx(0.75, abs=0.01)
    nll = NLL()(model, split.batch(torch.arange(4)), Now.at_end())
    assert float(nll.total().detach()) == pytest.approx(-(3 * math.log(0.75) + math.log(0.25)) / 4, abs=1e-3)


def test_inpainting_keeps_what_is_seen(tmp_path, command):
    run = tmp_path / "run"
    variata.train("hclt", {"train.epochs": 2, "model.structure.units": 4}, run=run)
    status, out, err = command("inpaint", run, "--hide", "left", "-n", 20, "--out", tmp_path / "x.npz")
    assert (status, err) == (0, "")
    assert out.strip() == str(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as arrays:
        x, observed, inpainted = (arrays[name] for name in ("x", "observed", "inpainted"))
    assert observed[..., 4:].all()
    assert not observed[..., :4].any()
    assert (inpainted[observed] == x[observed]).all()
    assert (inpainted[~observed] != x[~observed]).any()
    assert command("inpaint", run, "--out", tmp_path / "x.png")[0] == 0
    assert (tmp_path / "x.png").stat().st_size > 1000
    variata.train("vae", {"train.epochs": 1, "model.latent": 2}, run=tmp_path / "vae")
    status, _, err = command("inpaint", tmp_path / "vae", "--out", tmp_path / "y.png")
    assert (status, err) == (2, "error: VAE cannot draw what is hidden given the rest\n")
