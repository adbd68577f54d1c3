"""The restricted Boltzmann machine against enumeration, in float64: every state of a 6 x 4 machine is in reach."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

import variata
from variata import Batch, Clock, ConfigError, DataSpec, NonFinite, Now, Unsupported
from variata.testing import first_batch
from variata.training import Loop
from variata_plugins.rbm import model, partition, tempering, units
from variata_plugins.rbm.cd import ContrastiveDivergence
from variata_plugins.rbm.contrastive import Examples, Sparsity, pseudo_log_likelihood
from variata_plugins.rbm.model import RBM
from variata_plugins.rbm.pcd import PersistentContrastiveDivergence
from variata_plugins.rbm.tempering import TemperedPCD
from variata_plugins.rbm.units import BinaryUnits, GaussianUnits

F64 = torch.float64
NOW = Now(Clock(0, 10, 100))
BETAS = [0.0, 0.3, 1.0]


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def states(n: int) -> Tensor:
    return torch.tensor(list(product([0.0, 1.0], repeat=n)), dtype=F64)


def machine(visible: int = 6, hidden: int = 4, kind: type = BinaryUnits, **options: int) -> RBM:
    """Weights far from zero, and a base law that is not the model's."""
    support = "binary" if kind is BinaryUnits else "real"
    made = RBM(DataSpec((visible,), support), hidden=hidden, visible=kind, **options).double()
    for value in [*made.parameters(), *made.buffers()]:
        value.data = 0.8 * torch.randn_like(value)
    return made


def joint_energy(m: RBM, v: Tensor, h: Tensor, beta: float) -> Tensor:
    """E_beta(v, h), `[n, 2^hidden]`, written out as in the literature."""
    if isinstance(m.units, GaussianUnits):
        base = 0.5 * ((v - m.units.base_mean) ** 2 / m.units.base_logvar.exp()).sum(-1)
        own = 0.5 * ((v - m.units.bias) ** 2 / m.units.logvar.exp()).sum(-1)
        seen = v / m.units.logvar.exp()
    else:
        base, own, seen = -(v @ m.units.base_logits), -(v @ m.units.bias), v
    interaction = seen @ m.weight @ h.T + h @ m.hidden_bias
    return ((1 - beta) * base + beta * own)[:, None] - beta * interaction


# Energies and the partition function


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("kind", [BinaryUnits, GaussianUnits])
def test_the_free_energy_sums_the_hidden_states_out(kind, beta):
    m = machine(kind=kind)
    v = states(6) if kind is BinaryUnits else 2 * torch.randn(50, 6, dtype=F64)
    expected = -torch.logsumexp(-joint_energy(m, v, states(4), beta), 1)
    close(m.free_energy(v, beta), expected)
    close(m.free_energy(v, torch.full((len(v),), beta, dtype=F64)), expected)
    if beta == 0:
        shifted = -m.base().log_prob(v) - m.free_energy(v, 0.0)
        close(shifted, shifted.mean().expand_as(shifted))


def test_the_partition_function_is_the_same_from_both_sides():
    m = machine()
    expected = torch.logsumexp(-joint_energy(m, states(6), states(4), 1.0).flatten(), 0)
    close(partition.over_hidden(m), expected)
    close(partition.over_visible(m), expected)
    close(m.log_partition(), expected)


@pytest.mark.parametrize(("visible", "hidden"), [(3, 12), (12, 3), (12, 12)])
def test_the_partition_function_over_many_chunks(visible, hidden):
    m = machine(visible, hidden)
    close(partition.over_hidden(m), partition.over_visible(m))
    close(m.log_partition(), partition.over_hidden(m))


def test_the_partition_function_of_a_gaussian_machine_by_quadrature():
    m = machine(2, 3, GaussianUnits)
    m.units.logvar.data = torch.tensor([-0.5, 0.4], dtype=F64)
    step = 0.05
    line = torch.arange(-14, 14, step, dtype=F64)
    integral = torch.logsumexp(-m.free_energy(torch.cartesian_prod(line, line)), 0) + 2 * math.log(step)
    close(m.log_partition(), integral)


def test_what_is_beyond_enumeration_says_so():
    with pytest.raises(Unsupported, match="25 visible and 21 hidden units is beyond enumeration"):
        machine(25, 21).log_partition()
    with pytest.raises(Unsupported, match="3 visible and 21 hidden"):
        machine(3, 21, GaussianUnits).log_partition()
    assert machine(3, 21).log_partition().isfinite()


def test_extreme_weights_stay_finite():
    m = machine()
    m.weight.data *= 1e4
    v, energy = states(6).float(), m.float().free_energy(states(6).float())
    assert m.log_partition().isfinite()
    assert energy.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(energy.sum(), [m.weight, m.hidden_bias]))
    assert m.gibbs(v).isfinite().all()


# The Gibbs sweep


def kernel(m: RBM, beta: float, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The transition matrix of `gibbs`, from the logits that it tosses its coins with."""
    v, h = states(m.weight.shape[0]), states(m.weight.shape[1])
    total = torch.zeros(len(v), len(v), dtype=F64)
    for state in h:
        tossed: list[Tensor] = []
        see = tossed.append
        monkeypatch.setattr(model, "coin", lambda logits, h=state, see=see: see(logits) or h.expand_as(logits))
        monkeypatch.setattr(units, "coin", lambda logits, see=see: see(logits) or logits)
        m.gibbs(v, beta)
        up = Bernoulli(logits=tossed[0]).log_prob(state.expand_as(tossed[0])).sum(1)
        down = Bernoulli(logits=tossed[1][:1]).log_prob(v).sum(1)
        total += (up[:, None] + down).exp()
    monkeypatch.undo()
    return total


@pytest.mark.parametrize("beta", BETAS)
def test_the_sweep_leaves_the_law_invariant_in_detailed_balance(monkeypatch, beta):
    m = machine()
    matrix = kernel(m, beta, monkeypatch)
    p = torch.softmax(-m.free_energy(states(6), beta), 0)
    close(matrix.sum(1), torch.ones(64, dtype=F64))
    close(p @ matrix, p)
    flow = p[:, None] * matrix
    close(flow, flow.T)
    assert (matrix - matrix[0]).abs().max() > (1e-3 if beta else -1)


def test_the_sweep_draws_from_its_matrix(monkeypatch):
    m = machine(3, 2)
    n = 20_000
    for row, start in zip(kernel(m, 0.7, monkeypatch), states(3), strict=True):
        drawn = (m.gibbs(start.expand(n, 3), 0.7) @ torch.tensor([4.0, 2.0, 1.0], dtype=F64)).long()
        share = torch.bincount(drawn, minlength=8).double() / n
        assert ((share - row).abs() < 5 * (row * (1 - row) / n).sqrt() + 1e-9).all()


@pytest.mark.parametrize("beta", BETAS)
def test_the_gaussian_units_have_the_law_that_the_joint_energy_says(monkeypatch, beta):
    """-E_beta(v, h) and the log density of `sample` differ by a constant in v."""
    m = machine(kind=GaussianUnits)
    h, v = states(4), torch.randn(30, 6, dtype=F64)
    drawn = []
    for noise in (0.0, 1.0):
        monkeypatch.setattr(torch, "randn_like", lambda x, noise=noise: torch.full_like(x, noise))
        drawn.append(m.units.sample(h @ m.weight.T, beta))
    monkeypatch.undo()
    mean, std = drawn[0], drawn[1] - drawn[0]
    density = Normal(mean, std).log_prob(v[:, None]).sum(-1)
    difference = density + joint_energy(m, v, h, beta)
    close(difference, difference[:1].expand_as(difference))
    if beta == 1:
        close(m.units.log_prob(v[:16], h @ m.weight.T), density[torch.arange(16), torch.arange(16)])
        close(m.units.mean(h @ m.weight.T), mean)


# Sampling


def test_burn_in_and_thinning_are_counted_in_sweeps(monkeypatch):
    m = machine(burn_in=7, thinning=3, chains=4)
    sweeps = []
    monkeypatch.setattr(m, "gibbs", lambda x: sweeps.append(len(x)) or x + 1)
    x = m.sample(10)
    assert x.shape == (10, 6)
    assert sweeps == [4] * (7 + 3 + 3)
    assert [int(row.max()) for row in x] == [8] * 4 + [11] * 4 + [14] * 2


def test_clamped_sampling_draws_from_the_conditional():
    m = machine(4, 3, burn_in=30)
    observed = torch.tensor([True, False, True, False])
    x = torch.tensor([1.0, math.nan, 0.0, math.nan], dtype=F64)
    n = 20_000
    drawn = m.sample_given(x.expand(n, 4), observed.expand(n, 4))
    assert (drawn[:, observed] == x[observed]).all()
    filled = x.repeat(4, 1)
    filled[:, ~observed] = states(2)
    law = torch.softmax(-m.free_energy(filled), 0)
    share = torch.bincount((drawn[:, ~observed] @ torch.tensor([2.0, 1.0], dtype=F64)).long(), minlength=4) / n
    assert ((share - law).abs() < 5 * (law * (1 - law) / n).sqrt()).all()


def test_the_command_inpaints_by_clamped_sweeps(tmp_path, command):
    small = {"model.hidden": 5, "train.epochs": 1, "model.burn_in": 3}
    variata.train("rbm", small, run=tmp_path / "run", quiet=True)
    status, out, err = command("inpaint", tmp_path / "run", "--hide", "top", "-n", 6, "--out", tmp_path / "x.npz")
    assert (status, out.strip(), err) == (0, str(tmp_path / "x.npz"), "")
    with np.load(tmp_path / "x.npz") as arrays:
        x, observed, inpainted = (arrays[name] for name in ("x", "observed", "inpainted"))
    assert not observed[..., :4, :].any()
    assert (inpainted[observed] == x[observed]).all()
    assert (inpainted[~observed] != x[~observed]).any()
    assert set(inpainted.flatten()) == {0.0, 1.0}


def test_what_the_units_learn_from_the_data():
    ones = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    m = RBM(DataSpec((3,), "binary"), hidden=2)
    variata.prepare(m, [Batch(ones[:2]), Batch(ones[2:])])
    close(m.units.bias.detach(), torch.tensor([4.0, 1 / 4, 2 / 3]).log(), 1e-6)
    assert torch.equal(m.units.bias, m.units.base_logits)
    x = torch.tensor([[1.0, 5.0], [3.0, 5.0]]) + 1000
    g = RBM(DataSpec((2,), "real"), hidden=2, visible=lambda data: GaussianUnits(data, scale=0.5))
    variata.prepare(g, [Batch(x)])
    close(g.base().mean, torch.tensor([1002.0, 1005.0]))
    close(g.base().stddev, torch.tensor([1.0, 1.0]), 1e-6)
    close(g.units.precision, torch.tensor([4.0, 4.0]), 1e-5)


# The losses


def gradients(m: RBM, value: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, [m.weight, m.hidden_bias, m.units.bias])


def test_the_surrogate_at_the_model_has_the_gradient_of_the_likelihood(monkeypatch):
    m, x = machine(), torch.bernoulli(torch.full((5, 6), 0.5, dtype=F64))
    loss = PersistentContrastiveDivergence(m, chains=1)
    monkeypatch.setattr(m, "gibbs", lambda v: v)
    p = torch.softmax(-m.free_energy(states(6)), 0).detach()
    averaged = [torch.zeros_like(value) for value in (m.weight, m.hidden_bias, m.units.bias)]
    for share, v in zip(p, states(6), strict=True):
        loss.chains.x = v[None]
        for total, part in zip(averaged, gradients(m, loss(m, Batch(x), NOW).total()), strict=True):
            total += share * part
    exact = gradients(m, m.free_energy(x).mean() + m.log_partition())
    for actual, expected in zip(averaged, exact, strict=True):
        close(actual, expected)
    close(averaged[0], states(6).T @ (p[:, None] * m.encode(states(6))) - x.T @ m.encode(x) / 5)


@pytest.mark.parametrize("kind", [BinaryUnits, GaussianUnits])
def test_negatives_carry_no_gradient(monkeypatch, kind):
    m, x = machine(kind=kind), torch.bernoulli(torch.full((5, 6), 0.5, dtype=F64))
    assert not m.gibbs(x).requires_grad
    monkeypatch.setattr(m, "gibbs", lambda v, beta=1.0: v + m.units.bias)  # a sweep through which gradients could pass
    for loss in (ContrastiveDivergence(m), PersistentContrastiveDivergence(m), TemperedPCD(m)):
        held, start = loss.double(), x if isinstance(loss, ContrastiveDivergence) else loss.chains.x.double()
        fixed = m.free_energy(x).mean() - m.free_energy((start + m.units.bias).detach()).mean()
        for part, expected in zip(gradients(m, held(m, Batch(x), NOW).total()), gradients(m, fixed), strict=True):
            close(part, expected)


def test_tempered_chains_sweep_at_their_own_temperature_and_give_the_coldest(monkeypatch):
    m = machine()
    loss = TemperedPCD(m, k=2, chains=3, temperatures=5).double()
    monkeypatch.setattr(m, "gibbs", lambda v, beta: v + beta[:, None])
    monkeypatch.setattr(tempering, "swapped", lambda m, state, betas, temperatures: (state, torch.zeros(())))
    found = loss.negatives(m, states(6))
    ((_, state),) = found.updates
    close(state[:, 0], torch.tensor([0, 0.5, 1, 1.5, 2], dtype=F64).repeat_interleave(3))
    close(found.x, torch.full((3, 6), 2.0, dtype=F64))


def test_cd_takes_k_sweeps_from_the_examples(monkeypatch):
    m, x = machine(), states(6)
    monkeypatch.setattr(m, "gibbs", lambda v: v + 1)
    assert torch.equal(ContrastiveDivergence(m, k=3).negatives(m, x).x, x + 3)


@pytest.mark.parametrize("preset", ["rbm_pcd", "rbm_pt"])
def test_chains_move_once_with_each_accepted_step(preset):
    assembly = variata.build(preset)
    m, loss = assembly.model, assembly.loss
    for part in (m, loss):
        variata.prepare(part, assembly.data)
    train = assembly.data.split("train")
    loop = Loop(m, loss, assembly.training, train, train, seed=0)
    batch = first_batch(assembly)
    before = loss.chains.x.clone()
    assert before.unique(dim=0).shape[0] > 90
    torch.manual_seed(1)
    ((_, expected),) = loss(m, batch, loop.now).updates
    assert torch.equal(loss.chains.x, before)
    torch.manual_seed(1)
    loop.step(batch)
    assert torch.equal(loss.chains.x, expected)
    assert not torch.equal(expected, before)
    with pytest.raises(NonFinite):
        loop.step(Batch(torch.full_like(batch.x, math.nan)))
    assert torch.equal(loss.chains.x, expected)


def test_kept_examples_are_spread_over_the_data():
    kept = Examples(4, (1,))
    kept.prepare([Batch(torch.arange(5.0)[:, None]), Batch(torch.arange(5.0, 8.0)[:, None])])
    assert kept.x.flatten().tolist() == [0, 2, 4, 6]
    kept.prepare([Batch(torch.tensor([[7.0], [8.0]]))])
    assert kept.x.flatten().tolist() == [7, 7, 8, 8]


def test_swaps_leave_the_product_of_the_laws_invariant():
    m, v, n = machine(2, 2).requires_grad_(False), states(2), 4000
    betas = torch.tensor([0.2, 1.0], dtype=F64)
    low, high = (torch.softmax(-m.free_energy(v, float(b)), 0) for b in betas)
    i, j = (index.flatten() for index in torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij"))
    now, then = low[i] * high[j], low[j] * high[i]
    state = torch.cat([v[i].repeat(n, 1), v[j].repeat(n, 1)])
    after, rate = tempering.swapped(m, state, betas.repeat_interleave(16 * n), 2)
    made = (after[: 16 * n] != state[: 16 * n]).any(1).reshape(n, 16).double().mean(0)
    accepted = torch.where(i == j, 0.0, (then / now).clamp(max=1))
    assert ((made - accepted).abs() < 5 * (accepted * (1 - accepted) / n).sqrt() + 1e-9).all()
    close(now * accepted, (now * accepted).reshape(4, 4).T.flatten())  # detailed balance
    assert abs(float(rate) - float(torch.where(i == j, 1.0, accepted).mean())) < 0.01
    both, was = after.unflatten(0, (2, -1)), state.unflatten(0, (2, -1))
    assert ((both == was).all(-1).all(0) | (both == was.flip(0)).all(-1).all(0)).all()


def test_sparsity_pulls_the_running_mean_to_its_target():
    m, x = machine(), states(6)
    sparsity = Sparsity(target=0.2, cost=0.5, decay=0.7)
    loss, plain = ContrastiveDivergence(m, sparsity=sparsity).double(), ContrastiveDivergence(m).double()
    results = [one(m, Batch(x), NOW) for one in (loss, plain) if torch.manual_seed(3)]
    q = 0.7 * 0.2 + 0.3 * m.encode(x).mean(0)
    pull = [a - b for a, b in zip(*(gradients(m, r.total()) for r in results), strict=True)]
    close(pull[1], 0.5 * (q - 0.2))
    close(pull[0], 0.5 * x.mean(0)[:, None] * (q - 0.2))
    close(pull[2], torch.zeros(6, dtype=F64))
    ((buffer, value),) = results[0].updates
    assert buffer is loss.activation
    close(value, q)
    close(results[0].metrics["activation_rate"], q.mean())
    assert [loss.couples_batch, plain.couples_batch] == [True, False]


def test_the_pseudo_likelihood_is_unbiased(monkeypatch):
    m, v = machine(), states(6)
    energy = m.free_energy(v)
    found = []
    for i in range(6):
        monkeypatch.setattr(torch, "randint", lambda high, size, device=None, i=i: torch.full(size, i))
        found.append(pseudo_log_likelihood(m, v, energy))
    law = torch.softmax(-energy, 0)
    exact = torch.zeros(64, dtype=F64)
    for i in range(6):
        neighbour = v.clone()
        neighbour[:, i] = 1 - neighbour[:, i]
        other = law[(neighbour @ (2.0 ** torch.arange(5, -1, -1, dtype=F64))).long()]
        exact += (law / (law + other)).log()
    close(torch.stack(found).mean(0), exact)


def test_what_is_watched():
    m, x = machine(), states(6)
    loss = ContrastiveDivergence(m).double()
    loss.reference.x = x[:3]
    assert set(loss(m, Batch(x), NOW).metrics) == {"free_energy"}
    metrics = loss.eval()(m, Batch(x), NOW).metrics
    close(metrics["free_energy_gap"], m.free_energy(x) - m.free_energy(x[:3]).mean())
    h = m.encode(x)
    close(metrics["reconstruction_error"], -Bernoulli(logits=h @ m.weight.T + m.units.bias).log_prob(x).sum(1))
    close(m.reconstruct(x), (h @ m.weight.T + m.units.bias).sigmoid())


# What a user may get wrong, and what a run leaves


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.binarize=none"], "BinaryUnits take binary values, but the data is of 17 levels .* set data.binarize"),
        (["data=blobs"], "BinaryUnits take binary values, but the data is real-valued: set model.visible=gaussian"),
        (["model.visible=gaussian"], "GaussianUnits take real or interval values, .* binary: set model.visible=binary"),
        (["model.hidden=0"], "model.hidden: must be greater than 0"),
        (["loss.k=0"], "loss.k: must be greater than 0"),
        (["loss.sparsity.target=2"], "loss.sparsity.target: must be less than 1"),
        (["loss={use: pt_pcd, temperatures: 1}"], "loss.temperatures: must be greater than or equal to 2"),
        (["model={use: vae, latent: 2, decoder: bernoulli}"], "cd needs a model that is a Energy, and vae is not"),
    ],
)
def test_bad_options(overrides, message):
    with pytest.raises(ConfigError, match=message):
        variata.build("rbm", overrides)


def test_a_learning_rate_that_is_too_large_ends_in_one_line(tmp_path, command):
    rate = "train.optimizer.lr=1e38"
    status, _, err = command("train", "rbm", rate, "train.epochs=2", "--run", tmp_path / "run", "--quiet")
    assert status == 2
    assert "is not finite" in err.splitlines()[-1]


@pytest.mark.parametrize("preset", ["rbm", "gaussian_rbm"])
def test_a_run_leaves_pictures(tmp_path, preset):
    small = {"model.hidden": 5, "train.epochs": 1, "model.burn_in": 10}
    run = variata.train(preset, small, run=tmp_path / "run")
    for name in ("filters.png", "chains.png", "samples.png"):
        assert (run.path / name).read_bytes().startswith(b"\x89PNG")
    again = variata.load(run.path)
    assert variata.evaluate(again)["log_likelihood"] == variata.evaluate(run)["log_likelihood"]
