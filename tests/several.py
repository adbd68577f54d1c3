"""What `test_processes.py` runs in each of two processes: `python several.py CASE FOLDER`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import variata
from variata import Batch, Density, LatentVariable, Loss, Now, Objective, OnePhaseLoss, Phase, Split, Term, gathered
from variata.processes import is_cut, joined, leave, whole, world
from variata.training import Loop, Training
from variata.training.sharding import shard
from variata_kernels import noise, reparam_kl
from variata_plugins.optimization.optimizers import SGD, Adam

LATENT = 3


def noise_of(batch: Batch, now: Now, size: int) -> Tensor:
    """A function of (step, row): the same wherever the example is."""
    assert batch.index is not None
    return torch.cat([noise(torch.tensor(now.step), (1, size), row_offset=int(row)) for row in batch.index]).double()


class Placed(OnePhaseLoss):
    """The ELBO, with noise that belongs to the example."""

    requires = LatentVariable

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        q = model.encoder(batch.x)
        z = q.mean + q.stddev * noise_of(batch, now, q.event_shape[0])
        kl = torch.distributions.kl_divergence(q, variata.StandardNormal(q.mean))
        return Objective({"elbo": Term(kl - model.decoder(z).log_prob(batch.x))}, {"kl": kl})


class Player(Density):
    """A generator; of a density it has the name alone."""

    def __init__(self, data) -> None:
        super().__init__(data)
        self.net = nn.Sequential(nn.Linear(LATENT, 8), nn.Tanh(), nn.Linear(8, data.dimensions))

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class Game(Loss):
    """Non-saturating; the noise of an example is a function of (step, row)."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(dimensions, 8), nn.Tanh(), nn.Linear(8, 1))

    def made(self, model: Player, batch: Batch, now: Now) -> Tensor:
        return model.net(noise_of(batch, now, LATENT))

    def phases(self, model: Player) -> Sequence[Phase]:
        critic, player = list(self.critic.parameters()), list(model.parameters())
        return [
            Phase(name="critic", loss=self.of_critic, parameters=critic),
            Phase(name="player", loss=self.of_player, parameters=player, every=2),
        ]

    def of_critic(self, model: Player, batch: Batch, now: Now) -> Objective:
        real, made = self.critic(batch.x), self.critic(self.made(model, batch, now).detach())
        return Objective({"real": Term(softplus(-real[:, 0])), "made": Term(softplus(made[:, 0]))})

    def of_player(self, model: Player, batch: Batch, now: Now) -> Objective:
        return Objective({"player": Term(softplus(-self.critic(self.made(model, batch, now))[:, 0]))})


class Coupled(OnePhaseLoss):
    """Kernels between all pairs of the batch, a masked term, and a statistic: nothing of it falls into examples."""

    couples_batch = True
    gathers = True

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(LATENT, dtype=torch.float64))

    def forward(self, model: Player, batch: Batch, now: Now) -> Objective:
        z = batch.x[:, :LATENT] @ model.net[0].weight[:LATENT]
        everybody = gathered(z)
        pairs = (-(everybody[:, None] - everybody[None]).square().sum(-1)).exp().mean()
        each = (-(z[:, None] - everybody[None]).square().sum(-1)).exp().mean(1).log()
        mask = (batch.x[:, 0] > 0.3).double()
        update = 0.9 * self.mean + 0.1 * everybody.detach().mean(0)
        terms = {"pairs": Term(pairs), "each": Term(each, 0.3), "masked": Term(z.square().sum(-1), weight=mask)}
        return Objective(terms, {"each": each}, [(self.mean, update)])


def examples(n: int) -> Tensor:
    return torch.rand(n, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def identity(x: Tensor) -> Tensor:
    return x


def trained(case: str, n: int = 37, steps: int = 20) -> tuple[Loop, list[dict]]:
    """`steps` steps of the case, with batches of 8 (and one of 5, of which a process may get 2), and the rows."""
    is_vae = case in ("vae", "sharded")
    split = Split((examples(n) > 0.5).double() if is_vae else examples(n), transform=identity)
    held_out = Split(split.x[:11], transform=identity)
    torch.manual_seed(0)
    spec = variata.infer_spec(split.x, None)
    if is_vae:
        small = {"model.latent": 2, "model.encoder.network.hidden": [8], "model.decoder.network.hidden": [8]}
        assembly = variata.build("vae", small, data=split.x, loss=Placed())
        variata.prepare(assembly.model, assembly.data)
        model, loss, optimizer = assembly.model, assembly.loss, Adam(lr=1e-2)
    elif case == "gan":
        model, loss, optimizer = Player(spec), Game(16), Adam(lr=1e-2)
    else:
        model, loss, optimizer = Player(spec), Coupled(), SGD(lr=0.1, momentum=0.5)
    model, loss = model.double(), loss.double()
    if case == "sharded" and world().size > 1:
        shard(model, torch.device("cpu"), world())
        assert any(is_cut(parameter) for parameter in model.parameters())
    options = {"clip": 2.0, "ema": 0.9} if case == "sharded" else {}
    training = Training(optimizer=optimizer, batch_size=8, steps=steps, log_every=3, validate_steps=6, **options)
    loop = Loop(model, loss, training, split, held_out, seed=0)
    rows: list[dict] = []
    loop.run(rows.append)
    return loop, rows


def state(loop: Loop) -> dict[str, list[float]]:
    named = {**loop.model.state_dict(), **{f"loss.{k}": v for k, v in loop.loss.state_dict().items()}}
    return {name: whole(value).flatten().tolist() for name, value in named.items()}


class Sampled(nn.Module):
    """A layer whose Gaussian is drawn by the operator, with noise that belongs to the example."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(16, 2 * LATENT)

    def forward(self, x: Tensor, first: int) -> Tensor:
        draw = reparam_kl(self.net(x), torch.tensor(7), row_offset=first)
        return (draw.z.square().sum(-1) + draw.kl).mean()


def under_ddp(folder: str) -> None:
    """Gradients of a batch of 8 by torch's own wrapper, which averages those of the processes."""
    where = world()
    torch.manual_seed(0)
    model, x = Sampled().double(), examples(8)
    rows = where.part(torch.arange(8))
    wrapped = nn.parallel.DistributedDataParallel(model) if where.size > 1 else model
    wrapped(x[rows], int(rows[0])).backward()
    found = {name: p.grad.flatten().tolist() for name, p in model.named_parameters() if p.grad is not None}
    if where.first:
        Path(folder, f"ddp-{where.size}.json").write_text(json.dumps({"state": found, "rows": []}))


def main(case: str, folder: str) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    if case == "ddp":
        with joined(torch.device("cpu")):
            return under_ddp(folder)
    with joined(torch.device("cpu")) as where:
        loop, rows = trained(case)
        if where.size > 1:
            states = where.gather(state(loop))
            assert all(one == states[0] for one in states), "the processes have come apart"
        found = state(loop)
        if where.first:
            Path(folder, f"{case}-{world().size}.json").write_text(json.dumps({"state": found, "rows": rows}))
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave(0)
