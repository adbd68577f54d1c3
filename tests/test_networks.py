"""Networks of any size: shapes, leading axes, conditions, and that the transpose is the transpose."""

from __future__ import annotations

import pytest
import torch

import variata
from variata import ConfigError
from variata_plugins.networks.conv import Conv, ConvTranspose
from variata_plugins.networks.mlp import MLP
from variata_plugins.networks.normalization import BatchNorm
from variata_plugins.networks.resnet import ResNet

F64 = torch.float64
IMAGES = [(1, 8, 8), (3, 7, 5), (2, 28, 28), (1, 1, 1), (4, 13, 32), (1, 2, 9)]


@pytest.mark.parametrize("shape", IMAGES, ids=str)
@pytest.mark.parametrize("channels", [[3], [4, 6], [2, 3, 4, 5]], ids=str)
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_convolutions_of_any_image(shape, channels, kernel):
    x = torch.randn(2, *shape)
    down = Conv(shape, (6,), channels=channels, kernel=kernel)
    up = ConvTranspose((6,), shape, channels=channels, kernel=kernel)
    assert up(down(x)).shape == x.shape
    sizes = [stage.layer(torch.zeros(1, stage.layer.in_channels, *shape[1:])).shape for stage in down.stages[:1]]
    assert sizes[0][2:] == ((shape[1] + 1) // 2, (shape[2] + 1) // 2)


@pytest.mark.parametrize("shape", IMAGES, ids=str)
def test_each_stage_of_the_transpose_is_the_adjoint_of_its_convolution(shape):
    """<conv(x), u> = <x, transpose(u)> for equal weights."""
    down = Conv(shape, (6,), channels=[4, 6]).to(F64)
    up = ConvTranspose((6,), shape, channels=[4, 6]).to(F64)
    x = torch.randn(2, *shape, dtype=F64)
    for stage, transposed in zip(down.stages, [up.last, up.stages[0].layer], strict=True):
        transposed.weight.data = stage.layer.weight.data
        transposed.bias.data.zero_()
        stage.layer.bias.data.zero_()
        mapped = stage.layer(x)
        u = torch.randn_like(mapped)
        assert transposed(u).shape == x.shape
        torch.testing.assert_close((mapped * u).sum(), (x * transposed(u)).sum())
        x = torch.randn_like(mapped)


NETWORKS = {
    "mlp": lambda condition, **options: MLP((1, 6, 6), (2, 3), condition, hidden=[5], **options),
    "conv": lambda condition, **options: Conv((1, 6, 6), (2, 3), condition, channels=[2], **options),
    "conv_transpose": lambda condition, **options: ConvTranspose((1, 6, 6), (2, 5, 3), condition, **options),
    "resnet from images": lambda condition, **options: ResNet((1, 6, 6), (2, 3), condition, channels=[3, 4], **options),
    "resnet to images": lambda condition, **options: ResNet((36,), (2, 5, 3), condition, channels=[3, 4], **options),
    "resnet of vectors": lambda condition, **options: ResNet((36,), (2, 3), condition, channels=[4, 4, 5], **options),
}


@pytest.fixture(params=NETWORKS)
def make(request):
    return NETWORKS[request.param]


def test_leading_axes_are_restored(make):
    network = make(None).to(F64)
    x = torch.randn(3, 4, 5, *network.input, dtype=F64)
    together = network(x)
    assert together.shape == (3, 4, 5, *network.output)
    torch.testing.assert_close(together[2, 3], network(x[2, 3]))
    torch.testing.assert_close(together[1, 2, 0], network(x[1, 2, 0]))


@pytest.mark.parametrize("conditioning", ["concatenate", "film"])
def test_a_condition_enters_for_each_example_and_under_each_sample(make, conditioning):
    network = make((4,), conditioning=conditioning).to(F64)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x, y = torch.randn(3, 2, *network.input, dtype=F64), torch.tensor([1, 3])
    out = network(x, y)
    assert out.shape == (3, 2, *network.output)
    one_hot = torch.nn.functional.one_hot(y, 4).to(F64)
    torch.testing.assert_close(out, network(x, one_hot))
    torch.testing.assert_close(out[2], network(x[2], y))
    assert not torch.allclose(out[:, 0], network(x, torch.tensor([2, 3]))[:, 0])
    torch.testing.assert_close(out[:, 1], network(x, torch.tensor([2, 3]))[:, 1])


def test_film_begins_as_the_network_without_a_condition(make):
    torch.manual_seed(1)
    plain = make(None)
    modulated = make((4,), conditioning="film")
    missing, unexpected = modulated.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all("film" in name for name in missing)
    x = torch.randn(3, *plain.input)
    torch.testing.assert_close(modulated(x, torch.tensor([0, 1, 2])), plain(x))


def test_vectors_as_conditions(make):
    network = make((2, 3))
    assert network(torch.randn(4, *network.input), torch.randn(4, 2, 3)).shape == (4, *network.output)


def test_residual_blocks_add_to_what_they_are_given():
    network = Conv((1, 6, 6), (3,), channels=[2, 4], residual=2)
    assert [len(stage.blocks) for stage in network.stages] == [2, 2]
    h = torch.randn(2, 4, 3, 3)
    block = network.stages[1].blocks[0]
    for layer in (block.second,):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    assert torch.equal(block(h, None), h)
    assert len(ConvTranspose((3,), (1, 6, 6), channels=[2, 4], residual=3).stages[0].blocks) == 3


@pytest.mark.parametrize("norm", ["none", "batch", "group", "layer"])
def test_a_norm_that_couples_the_batch_says_so_and_no_other_does(make, norm):
    network = make(None, norm=norm).to(F64)
    assert network.couples_batch == (norm == "batch")
    x = torch.randn(5, *network.input, dtype=F64)
    alone, among = network(x[:2]), network(x)[:2]
    assert torch.allclose(alone, among) != network.couples_batch
    network.eval()
    torch.testing.assert_close(network(x[:1]), network(x)[:1])


@pytest.mark.parametrize("preset", ["conv_vae", "gan"])
def test_a_batch_that_a_network_couples_is_not_cut(preset, tmp_path):
    network = "model.encoder.network" if preset == "conv_vae" else "model.generator"
    settings = {f"{network}.norm": "batch", "train.accumulate": 2, "train.epochs": 1}
    with pytest.raises(ConfigError, match=r"batch normalisation .*so it cannot be cut: normalise by layers or groups"):
        variata.train(preset, settings, run=tmp_path / "run")


def test_batch_norm_normalises_the_batch_and_keeps_running_means():
    norm, x = BatchNorm(3).to(F64), 2 + 3 * torch.randn(400, 3, 2, 2, dtype=F64)
    h = norm(x)
    torch.testing.assert_close(h.mean((0, 2, 3)), torch.zeros(3, dtype=F64))
    torch.testing.assert_close(h.var((0, 2, 3), correction=0), torch.ones(3, dtype=F64), atol=1e-5, rtol=0)
    torch.testing.assert_close(norm.mean, 0.1 * x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.variance, 0.9 + 0.1 * x.var((0, 2, 3)))
    kept = norm.mean.clone()
    expected = (torch.ones(1, 3, dtype=F64) - norm.mean) / (norm.variance + norm.eps).sqrt()
    torch.testing.assert_close(norm(torch.ones(1, 3, dtype=F64)), expected)  # one value has no spread
    assert torch.equal(norm.mean, kept)


def test_dropout_leaves_units_out_in_training_alone(make):
    network = make(None, dropout=0.5)
    x = torch.randn(2, *network.input)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_the_largest_singular_value_under_spectral_norm_is_one(make):
    network = make(None, spectral_norm=True).to(F64)
    x = torch.randn(2, *network.input, dtype=F64)
    for _ in range(300):  # power iteration, a step for each use
        network(x)
    network.eval()
    weights = [m.weight for m in network.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]
    weights += [m.weight.transpose(0, 1) for m in network.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
    assert len(weights) >= 2
    for weight in weights:
        assert float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2)) == pytest.approx(1.0, abs=1e-9)


def test_a_spectrally_normed_mlp_is_one_lipschitz():
    network = MLP((4,), (1,), hidden=[32, 32], spectral_norm=True).to(F64)
    x = torch.randn(256, 4, dtype=F64, requires_grad=True)
    for _ in range(100):
        network(x)
    (slope,) = torch.autograd.grad(network(x).sum(), x)
    assert float(slope.norm(dim=1).max()) <= 1 + 1e-6


def test_the_blocks_of_a_resnet_follow_from_its_shapes():
    for shape in IMAGES:
        down, up = ResNet(shape, (6,), channels=[3, 4, 5], blocks=2), ResNet((6,), shape, channels=[3, 4, 5], blocks=2)
        assert up(down(torch.randn(2, *shape))).shape == (2, *shape)
    network = ResNet((6,), (2,), channels=[5, 5])
    x = torch.randn(3, 6)
    for block in network.blocks:
        torch.nn.init.zeros_(block.layers[1].weight)
        torch.nn.init.zeros_(block.layers[1].bias)
    torch.testing.assert_close(network(x), network.last(network.first(x).relu()))


def test_an_mlp_without_hidden_layers_is_affine():
    network = MLP((4,), (3,), hidden=[]).to(F64)
    a, b = torch.randn(2, 5, 4, dtype=F64)
    torch.testing.assert_close(network(a + b) + network(torch.zeros_like(a)), network(a) + network(b))


@pytest.mark.parametrize("activation", ["elu", "gelu", "leaky_relu", "relu", "silu", "tanh"])
def test_activations(activation):
    network = MLP((4,), (3,), hidden=[6], activation=activation)
    reference = getattr(torch.nn.functional, activation, torch.tanh)
    x = torch.randn(5, 4)
    torch.testing.assert_close(network(x), network.last(reference(network.layers[0](x))))


def test_what_does_not_fit_is_said():
    with pytest.raises(ConfigError, match=r"conv reads images .* its input has the shape \[10\]: use mlp"):
        Conv((10,), (3,))
    with pytest.raises(ConfigError, match=r"conv_transpose makes images .* its output has the shape \[10\]: use mlp"):
        ConvTranspose((3,), (10,))
    with pytest.raises(ValueError, match=r"MLP takes \[\*, \[10\]\], got \[3, 9\]"):
        MLP((10,), (3,))(torch.zeros(3, 9))
    with pytest.raises(ValueError, match="it needs y"):
        MLP((10,), (3,), (2,))(torch.zeros(3, 10))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("kernel=4", "must be odd"),
        ("channels=[]", "should have at least 1 item"),
        ("channels=[32,0]", "channels[1]: must be greater than 0"),
        ("residual=-1", "must be greater than or equal to 0"),
        ("activation=rleu", "'relu'"),
        ("conditioning=add", "'concatenate' or 'film'"),
        ("norm=bach", "'batch'"),
        ("dropout=1", "must be less than 1"),
    ],
)
def test_options_that_are_wrong(command, option, message):
    status, _, err = command("check", "conv_vae", f"model.encoder.network.{option}")
    assert status == 2
    assert err.count("\n") == 1
    assert "model.encoder.network" in err
    assert message in err
