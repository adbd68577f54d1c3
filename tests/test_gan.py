"""Games whose best critic is known, slopes against finite differences, and what players may not do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import variata
from support import problems
from variata import Batch, Clock, DataSpec, EvaluationSettings, Now, Sampler
from variata_plugins.datasets.blobs import Blobs
from variata_plugins.gan.clipping import Clipped
from variata_plugins.gan.game import Game, Hinge, LeastSquares, Minimax, NonSaturating, Wasserstein
from variata_plugins.gan.loss import AdversarialLoss
from variata_plugins.gan.model import GAN
from variata_plugins.gan.modes import Modes
from variata_plugins.gan.penalty import R1, GradientPenalty, slopes
from variata_plugins.networks.mlp import MLP
from variata_plugins.optimization.optimizers import SGD

F64 = torch.float64
P = torch.tensor([0.5, 0.2, 0.25, 0.05, 0.0], dtype=F64)  # of the data: the last point is the generator's alone
Q = torch.tensor([0.1, 0.3, 0.25, 0.0, 0.35], dtype=F64)
NOW = Now(Clock(0, 10, 100))


def kl(p: Tensor, q: Tensor) -> Tensor:
    return torch.special.xlogy(p, p / q).sum()


JS = 0.5 * kl(P, (P + Q) / 2) + 0.5 * kl(Q[[0, 1, 2, 4]], ((P + Q) / 2)[[0, 1, 2, 4]])
TV = 0.5 * (P - Q).abs().sum()


def least(game: Game) -> tuple[Tensor, float]:
    """The best critic of the two discrete laws, a value for each point, and what it reaches, from a start where
    no game is flat."""
    f = (0.1 * torch.linspace(-1, 1, 5, dtype=F64)).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [f], max_iter=300, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def value() -> Tensor:
        return (P * game.real(f) + Q * game.fake(f)).sum()

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = value()
        total.backward()
        return total

    optimizer.step(closure)
    return f.detach(), float(value().detach())


@pytest.mark.parametrize("game", [Minimax(), NonSaturating()])
def test_the_value_of_the_first_game_is_twice_the_jensen_shannon_divergence_less_log_4(game):
    """V(D, G) = E_p log D + E_q log(1 - D), at its best D = p / (p + q)."""
    best = P / (P + Q)
    f = torch.logit(best, eps=1e-300)  # infinite where only one law is: there both summands are zero
    inside = best.gt(0) & best.lt(1)
    value = -(P * game.real(f) + Q * game.fake(f))[inside].sum()
    assert float(value) == pytest.approx(float(2 * JS - math.log(4)), abs=1e-12)
    found, reached = least(game)
    assert reached == pytest.approx(float(math.log(4) - 2 * JS), abs=1e-6)
    torch.testing.assert_close(found[inside], f[inside], atol=1e-5, rtol=0)


def test_minimax_is_what_the_critic_loses_and_non_saturating_has_gradient_where_it_is_sure():
    f = torch.tensor([-9.0, 0.0, 2.0], dtype=F64, requires_grad=True)
    torch.testing.assert_close(Minimax().generator(f), -Minimax().fake(f))
    flat, steep = (torch.autograd.grad(game.generator(f).sum(), f)[0][0] for game in (Minimax(), NonSaturating()))
    assert -1e-3 < float(flat) < 0
    assert float(steep) < -0.99
    torch.testing.assert_close(NonSaturating().generator(f), NonSaturating().real(f))


def test_least_squares_with_pearsons_targets_is_his_divergence():
    game = LeastSquares(fake=-1.0, real=1.0, wanted=0.0)
    f, reached = least(game)
    torch.testing.assert_close(f, (P - Q) / (P + Q))
    pearson = ((2 * Q - (P + Q)).square() / (P + Q)).sum()
    torch.testing.assert_close(((P + Q) * game.generator(f)).sum(), 0.5 * pearson)
    a, b = -1.0, 1.0
    assert reached == pytest.approx(float((b - a) ** 2 / 2 * (P * Q / (P + Q)).sum()), abs=1e-12)


def test_the_hinge_leaves_the_critic_two_less_twice_the_total_variation():
    game, sign = Hinge(), (P - Q).sign()
    value = (P * game.real(sign) + Q * game.fake(sign)).sum()
    assert float(value) == pytest.approx(float(2 - 2 * TV), abs=1e-12)
    for _ in range(200):  # it is convex in f, and no other f does better
        other = sign + 0.5 * torch.randn(5, dtype=F64)
        assert (P * game.real(other) + Q * game.fake(other)).sum() >= value - 1e-12
    gap = (Q * game.generator(sign)).sum() - (P * game.generator(sign)).sum()
    assert float(gap) == pytest.approx(float(2 * TV), abs=1e-12)


def test_a_critic_of_slope_one_finds_the_earth_movers_distance_of_two_points():
    """p and q on the points 0 and d: W1 = |p - q| d. A linear critic, its weight cut to [-1, 1] after each step."""
    d, p, q, game = 3.0, 0.9, 0.35, Wasserstein()
    weight = nn.Parameter(torch.tensor([0.2], dtype=F64))
    optimizer = Clipped(bound=1.0, step=SGD(lr=0.5)).build([weight], 0.5)
    for _ in range(50):
        points = weight * torch.tensor([0.0, d], dtype=F64)
        law = [torch.tensor([1 - share, share], dtype=F64) for share in (p, q)]
        value = (law[0] * game.real(points) + law[1] * game.fake(points)).sum()
        weight.grad = torch.autograd.grad(value, weight)[0]
        optimizer.step()
        assert float(weight.detach().abs()) <= 1.0
    assert float(weight.detach()) == 1.0
    assert float(-value.detach()) == pytest.approx(abs(p - q) * d, abs=1e-12)


def linear(slope: Tensor):
    return lambda x: x.flatten(1) @ slope + 0.7


def test_the_gradient_penalty_of_a_linear_critic_is_that_of_its_slope():
    real, fake = torch.randn(2, 6, 3, 2, dtype=F64)
    slope = torch.randn(6, dtype=F64)
    unit = GradientPenalty()(linear(slope / slope.norm()), real, fake)
    torch.testing.assert_close(unit, torch.zeros(6, dtype=F64), atol=1e-28, rtol=0)
    twice = GradientPenalty()(linear(3 * slope / slope.norm()), real, fake)
    torch.testing.assert_close(twice, torch.full((6,), 4.0, dtype=F64))


def test_the_gradient_penalty_is_taken_between_an_example_and_its_partner():
    """f = |x|^2 / 2 has the slope x: at x = 4 and x~ = 2 of one sign, the penalty is (x^ - 1)^2 with x^ in [2, 4]."""
    real, fake = torch.full((500, 1), 4.0, dtype=F64), torch.full((500, 1), 2.0, dtype=F64)
    value = GradientPenalty()(lambda x: 0.5 * x.square().sum(1), real, fake).detach()
    assert 1 <= float(value.min()) < 1.2
    assert 8.7 < float(value.max()) <= 9
    assert float(value.mean()) == pytest.approx((27 - 1) / (3 * 2), abs=0.3)  # the mean of (u - 1)^2 over [2, 4]


def critic_of(inputs: int) -> MLP:
    return MLP((inputs,), (1,), hidden=[7, 5], activation="tanh").to(F64)


def test_r1_and_its_gradient_against_finite_differences():
    network, x, step = critic_of(3), torch.randn(4, 3, dtype=F64), 1e-5

    def critic(x: Tensor) -> Tensor:
        return network(x)[:, 0]

    with torch.no_grad():
        moves = step * torch.eye(3, dtype=F64)
        slope = torch.stack([(critic(x + move) - critic(x - move)) / (2 * step) for move in moves], dim=1)
    found = R1()(critic, x, x + 1)
    torch.testing.assert_close(found, 0.5 * slope.square().sum(1), atol=1e-8, rtol=1e-6)
    weight = network.layers[0].weight
    (gradient,) = torch.autograd.grad(found.sum(), weight)
    with torch.no_grad():
        for place in [(0, 0), (3, 2), (6, 1)]:
            kept = float(weight[place])
            values = []
            for move in (step, -step):
                weight[place] = kept + move
                with torch.enable_grad():
                    values.append(float(R1()(critic, x, x).sum().detach()))
            weight[place] = kept
            assert float(gradient[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-8)


def test_slopes_do_not_reach_the_examples():
    x = torch.randn(4, 3, dtype=F64, requires_grad=True)
    assert slopes(linear(torch.ones(3, dtype=F64)), x).shape == x.shape
    assert x.grad is None


def points() -> DataSpec:
    return DataSpec((2,), "real", low=-math.inf, high=math.inf, measure="lebesgue", classes=3)


def test_each_player_moves_its_own_parameters_and_the_generator_every_n_steps():
    model = GAN(points(), latent=3)
    loss = AdversarialLoss(model, critic_steps=4, penalty=GradientPenalty())
    critic, generator = loss.phases(model)
    assert (critic.every, generator.every) == (1, 4)
    assert critic.needs_gradients
    assert {id(p) for p in critic.parameters} == {id(p) for p in loss.parameters()}
    assert {id(p) for p in generator.parameters} == {id(p) for p in model.parameters()}
    batch = Batch(torch.randn(8, 2), torch.zeros(8, dtype=torch.int64))
    total = critic.loss(model, batch, NOW).total()
    assert torch.autograd.grad(total, list(model.parameters()), allow_unused=True) == (None,) * 6


def test_training_takes_the_phases_in_their_turn():
    from variata.training import Loop

    assembly = variata.build("wgan_gp", {"data.examples": 300, "loss.critic_steps": 3, "train.batch_size": 50})
    split = assembly.data.split("train")
    loop = Loop(assembly.model, assembly.loss, assembly.training, split, split, 0)
    moved = []
    for _ in range(7):
        before = [assembly.model.generator.last.weight.clone(), assembly.loss.critic.last.weight.clone()]
        loop.step(split.batch(torch.arange(50)))
        after = [assembly.model.generator.last.weight, assembly.loss.critic.last.weight]
        moved.append([not torch.equal(one, other) for one, other in zip(before, after, strict=True)])
    assert [player for player, _ in moved] == [True, False, False, True, False, False, True]
    assert all(critic for _, critic in moved)


def test_weights_stay_in_the_box_of_clipped():
    from variata.training import Loop

    assembly = variata.build("wgan", {"loss.optimizer.bound": 0.02})
    split = assembly.data.split("train")
    loop = Loop(assembly.model, assembly.loss, assembly.training, split, split, 0)
    for _ in range(3):
        loop.step(split.batch(torch.arange(32)))
        assert max(float(p.detach().abs().max()) for p in assembly.loss.critic.parameters()) <= 0.02
    assert max(float(p.detach().abs().max()) for p in assembly.model.parameters()) > 0.02


def test_samples_are_of_the_kind_that_the_data_is():
    torch.manual_seed(0)
    levels = GAN(DataSpec((1, 8, 8), "levels", levels=17, low=-1.0, high=1.0), latent=3)
    x, raw = levels.sample(20), levels.draw(20)
    steps = (x + 1) * 8
    torch.testing.assert_close(steps, steps.round())
    assert -1 <= float(raw.detach().min()) < float(raw.detach().max()) <= 1
    assert raw.requires_grad
    assert not x.requires_grad
    with torch.no_grad():
        levels.generator.last.bias.fill_(50.0)
    assert (levels.sample(5) == 1).all()
    with torch.no_grad():
        real = GAN(points(), latent=3)
        real.generator.last.bias.fill_(50.0)
        assert float(real.sample(5).min()) > 40
    uniform = GAN(points(), latent=3, noise="uniform")
    seen: list[Tensor] = []
    uniform.generator.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    uniform.sample(1000)
    assert float(seen[0].abs().max()) <= 1
    assert float(seen[0].std()) == pytest.approx(1 / math.sqrt(3), abs=0.03)


def test_a_condition_reaches_both_players():
    model = GAN(points(), latent=3, condition=True)
    loss = AdversarialLoss(model)
    z, x = torch.randn(4, 3), torch.randn(4, 2)
    one, other = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 2, 0])
    assert not torch.equal(model(z, one)[0], model(z, other)[0])
    assert torch.equal(model(z, one)[1:], model(z, other)[1:])
    assert not torch.equal(loss.value(x, one)[0], loss.value(x, other)[0])


def test_a_batch_that_is_coupled_is_said_to_be():
    plain = GAN(points(), latent=3)
    assert not AdversarialLoss(plain).couples_batch
    normed = GAN(points(), latent=3, generator=MLP((3,), (2,), hidden=[4], norm="batch"))
    assert AdversarialLoss(normed).couples_batch
    assert AdversarialLoss(plain, critic=MLP((2,), (1,), hidden=[4], norm="batch")).couples_batch
    assert not AdversarialLoss(plain, critic=MLP((2,), (1,), hidden=[4], norm="layer")).couples_batch


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("gan", {"data.binarize": "dynamic"}, "binary data is not: set data.binarize=none"),
        ("gan", {"loss.game": "wasserstein", "loss.penalty": None}, "wasserstein needs a smooth critic"),
        ("gan", {"loss.critic.norm": "batch"}, "batch normalisation mixes: set critic.norm=layer"),
        ("gan", {"loss.critic_steps": 0}, "loss.critic_steps: must be greater than 0"),
        ("wgan_gp", {"loss.penalty.weight": -1.0}, "loss.penalty.weight: must be greater than 0"),
        ("vae", {"loss": "gan"}, "needs a model that is a GAN, and vae is not"),
    ],
)
def test_mistakes_are_said_in_a_line(preset, overrides, message):
    found = problems(preset, overrides)
    assert any(message in problem for problem in found), found


@pytest.mark.parametrize("smooth", [{"critic.spectral_norm": True}, {"optimizer": "clipped"}])
def test_a_critic_may_be_held_smooth_in_other_ways(smooth):
    options = {f"loss.{key}": value for key, value in smooth.items()}
    loss = variata.build("gan", {"loss.game": "wasserstein", "loss.penalty": None, **options}).loss
    assert isinstance(loss.game, Wasserstein)


class Drawn(Sampler):
    """Points that are given."""

    def __init__(self, spec: DataSpec, x: Tensor) -> None:
        super().__init__(spec)
        self.x = x

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        return self.x.repeat(math.ceil(n / len(self.x)), 1)[:n]


@pytest.mark.parametrize(("layout", "modes"), [("ring", 8), ("grid", 25)])
def test_modes_are_counted(layout, modes):
    data = Blobs(layout=layout, modes=modes)
    settings = EvaluationSettings()
    true = Modes().measure(Drawn(data.spec, data.split("test").x), data, settings)
    assert true["modes_covered"]["value"] == true["modes_covered"]["of"] == modes
    assert true["modes_high_quality"]["value"] == pytest.approx(
        1 - math.exp(-4.5), abs=0.012
    )  # within 3 s in the plane
    assert true["modes_kl"]["value"] < 0.05
    some = Modes(samples=3000).measure(
        Drawn(data.spec, torch.cat([data.centres[:3], data.centres[:3] + 0.7])), data, settings
    )
    assert some["modes_covered"]["value"] == 3
    assert some["modes_high_quality"]["value"] == 0.5
    shares = torch.bincount(data.split("train").y, minlength=modes) / len(data.split("train").y)
    expected = sum(math.log(1 / 3 / float(share)) / 3 for share in shares[:3])
    assert some["modes_kl"]["value"] == pytest.approx(expected, abs=1e-6)
    none = Modes(least=400).measure(Drawn(data.spec, data.centres + 50), data, settings)
    assert none["modes_covered"]["value"] == 0
    assert "modes_kl" not in none


def test_modes_are_counted_of_labelled_points_alone():
    data = variata.build("gan").data
    with pytest.raises(variata.Unsupported, match="labelled points"):
        Modes().measure(Drawn(data.spec, torch.zeros(1, 64)), data, EvaluationSettings())


def test_a_run_is_evaluated_sampled_with_conditions_and_says_that_it_cannot_reconstruct(command, tmp_path):
    folder = tmp_path / "run"
    settings = {"train.epochs": 1, "model.condition": True, "model.generator.hidden": [8], "loss.critic.hidden": [8]}
    run = variata.train("gan", settings, run=folder)
    found = variata.evaluate(
        run, metrics=[{"use": "fid", "extractor": "pixels", "samples": 50}, {"use": "parzen", "samples": 50}]
    )
    assert set(found) == {"fid[pixels]", "parzen"}
    assert command("sample", folder, "-n", "4", "--condition", "3", "--out", tmp_path / "x.npz")[0] == 0
    status, _, err = command("reconstruct", folder, "--out", tmp_path / "r.png")
    assert (status, err) == (2, "error: GAN cannot reconstruct\n")
    assert not any("critic" in name for name in variata.load(folder).model.state_dict())
