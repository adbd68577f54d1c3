"""The operators inside graphs: torch.compile without a break, torch.export, checkpointing, autocast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from variata import DiagonalNormal, StandardNormal, rsample_and_kl
from variata_kernels import log_density_matrix, log_matmul_exp, noise, reparam_kl
from variata_kernels.backend import interpreted, uses_triton

# torch's own, when it first compiles.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def compiled_anew() -> Iterator[None]:
    """The compiler, when it is first imported, stops torch.distributions from checking arguments."""
    checked = torch.distributions.Distribution._validate_args
    torch._dynamo.reset()
    yield
    torch.distributions.Distribution.set_default_validate_args(checked)


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


def loss(params: Tensor, seed: Tensor | None, samples: int | None = None) -> Tensor:
    draw = reparam_kl(params, seed, samples)
    total = draw.z.square().sum() + draw.kl.sum()
    return total if draw.log_weight is None else total + draw.log_weight.logsumexp(0).sum()


@pytest.mark.parametrize("samples", [None, 3])
def test_a_compiled_graph_gives_what_eager_gives(samples, device):
    params, seed = torch.randn(6, 8, device=device, requires_grad=True), torch.tensor(5, device=device)
    expected = loss(params, seed, samples)
    actual = compiled(loss)(params, seed, samples)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    grads = [torch.autograd.grad(value, params)[0] for value in (actual, expected)]
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-5)


def test_the_other_operators_compile(device):
    def function(a: Tensor, b: Tensor) -> Tensor:
        joint, marginal = log_density_matrix(a, b.mT, b.mT)
        return log_matmul_exp(a, b).sum() + joint.sum() - marginal.sum()

    a, b = torch.randn(5, 4, device=device).requires_grad_(), torch.randn(4, 5, device=device).requires_grad_()
    torch.testing.assert_close(compiled(function)(a, b), function(a, b), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("source", ["torch", "portable"])
def test_a_compiled_graph_draws_afresh_at_each_call(source, device, monkeypatch):
    monkeypatch.setenv("VARIATA_NOISE", source)
    params = torch.randn(6, 8, device=device)
    draw = compiled(lambda x: reparam_kl(x).z)
    assert not torch.equal(draw(params), draw(params))


def test_the_cores_door_compiles():
    def function(mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
        layer = rsample_and_kl(DiagonalNormal(mean, logvar), StandardNormal(mean), 2)
        return layer.kl, layer.log_q("parameters")

    mean, logvar = torch.randn(2, 4, 3)
    torch.testing.assert_close(compiled(function)(mean, logvar)[0], function(mean, logvar)[0])


def test_batch_sizes_are_not_compiled_one_by_one(device):
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    step = torch.compile(lambda x, s: reparam_kl(x, s).kl, fullgraph=True, backend=backend)
    for batch in (4, 7, 9, 12):
        step(torch.randn(batch, 8, device=device), torch.tensor(1, device=device))
    assert len(graphs) == 2


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        draw = reparam_kl(self.linear(x))
        return draw.z, draw.kl


def test_an_exported_program_holds_the_operator(device):
    module = Encoder().to(device)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(
        module, (torch.randn(4, 3, device=device),), dynamic_shapes={"x": {0: batch}}, strict=False
    )
    assert "variata.reparam_kl" in str(program.graph)
    z, kl = program.module()(torch.randn(9, 3, device=device))
    assert z.shape == (9, 4)
    assert kl.shape == (9,)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_layer_draws_the_same_noise_again(reentrant, device):
    weights = torch.randn(4, 8, device=device, requires_grad=True)
    x = torch.randn(5, 4, device=device, requires_grad=True)

    def layer(x: Tensor) -> Tensor:
        draw = reparam_kl(x @ weights)
        return draw.z.square().sum(-1) + draw.kl

    torch.manual_seed(3)
    expected = torch.autograd.grad(layer(x).sum(), weights)[0]
    torch.manual_seed(3)
    out = checkpoint(layer, x, use_reentrant=reentrant).sum()
    if reentrant:
        out.backward()
        assert weights.grad is not None
        torch.testing.assert_close(weights.grad, expected)
    else:
        torch.testing.assert_close(torch.autograd.grad(out, weights)[0], expected)


def test_autocast_leaves_the_sums_in_float32(device):
    linear = nn.Linear(3, 8).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        params = linear(torch.randn(5, 3, device=device))
        draw = reparam_kl(params, 1, 2)
    assert draw.z.dtype == params.dtype == torch.bfloat16
    assert draw.log_weight is not None
    assert draw.kl.dtype == draw.log_weight.dtype == torch.float32
    (draw.z.float().sum() + draw.kl.sum() + draw.log_weight.sum()).backward()
    assert linear.weight.grad is not None
    assert linear.weight.grad.isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available() or interpreted(), reason="no GPU, or TRITON_INTERPRET=1")
def test_a_replayed_graph_draws_afresh():
    params, offset = torch.randn(64, 32, device="cuda"), torch.zeros((), dtype=torch.int64, device="cuda")
    seed = torch.tensor(1, device="cuda")
    assert uses_triton(params.device)
    reparam_kl(params)
    reparam_kl(params, seed, row_offset=offset)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fresh = reparam_kl(params).z
        placed = reparam_kl(params, seed, row_offset=offset).z
    seen = []
    for place in (0, 64):
        offset.fill_(place)
        graph.replay()
        seen.append((fresh.clone(), placed.clone()))
    assert not torch.equal(seen[0][0], seen[1][0])
    whole = noise(seed, (128, 16))
    mean, logvar = params.chunk(2, -1)
    for (_, z), rows in zip(seen, (slice(0, 64), slice(64, 128)), strict=True):
        torch.testing.assert_close(z, mean + (0.5 * logvar).exp() * whole[rows])
