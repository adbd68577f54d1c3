"""The built-in parts pass the conformance kit that plugin authors use. What takes longer is among the slow tests."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributions import Dirichlet, Distribution

import variata_kernels
from variata import registry
from variata.testing import check_component, checks_of


class Rows(Distribution):
    """Two rows of two numbers that sum to one, uniform but for the corners, packed as relaxed codes are."""

    def __init__(self, law: Distribution) -> None:
        self.rows = Dirichlet(torch.full((*law.batch_shape, 2, 2), 0.6))
        super().__init__(law.batch_shape, law.event_shape, validate_args=False)

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        return self.rows.sample(sample_shape).clamp(1e-6, 1 - 1e-6).flatten(-2)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return self.rows.log_prob(value.unflatten(-1, (2, 2)).double()).sum(-1)


ONE_HOT = {"use": "categorical", "classes": 3}
RELAXED = {"use": "relaxed_categorical", "classes": 2}
ABOUT: dict[str, dict[str, Any]] = {
    "encoder/categorical": {"options": {"classes": 3}, "latent": 6, "siblings": {"prior": "categorical"}},
    "encoder/relaxed_categorical": {
        "options": {"classes": 2},
        "latent": 4,
        "siblings": {"prior": "relaxed_categorical"},
        "reference": Rows,
    },
    "prior/categorical": {"options": {"learned": True}, "latent": 6, "siblings": {"encoder": ONE_HOT}},
    "prior/relaxed_categorical": {
        "options": {"learned": True},
        "latent": 4,
        "siblings": {"encoder": RELAXED},
        "reference": Rows,
    },
    "prior/circuit": {
        "options": {"structure": {"use": "mixture", "units": 3}},
        "latent": 6,
        "siblings": {"encoder": ONE_HOT},
    },
    "prior/vamp": {"options": {"components": 3}},
    "model/rbm": {"preset": "rbm"},
    "model/circuit": {"preset": "rat_spn"},
    "data/sprites": {"options": {"size": 32, "examples": 100}},
    "data/sklearn_table": {"options": {"name": "wine"}},
    "schedule/constant": {"options": {"value": 0.5}},
    "schedule/cosine": {"options": {"from": 1.0, "to": 0.0, "steps": 50}},
    "schedule/cyclic": {"options": {"from": 0.0, "to": 1.0}},
    "schedule/linear": {"options": {"from": 0.0, "to": 1.0, "steps": 10}},
    "schedule/warmup": {"options": {"of": 1.0, "steps": 10}},
    "optimizer/clipped": {"preset": "wgan"},
    "metric/mig": {"preset": "sprites_vae"},
    "metric/dci": {"preset": "sprites_vae"},
    "metric/sap": {"preset": "sprites_vae"},
    "metric/modularity": {"preset": "sprites_vae"},
    "metric/beta_vae_score": {"preset": "sprites_vae"},
    "metric/factor_vae_score": {"preset": "sprites_vae"},
    "metric/deep_belief_bound": {"preset": "deep_belief_network"},
    "metric/denoising_error": {"preset": "denoising_autoencoder"},
    "metric/modes": {"preset": "wgan_gp"},
    "metric/imputation": {"preset": "table_miwae"},
}
"""What the kit is told of a part, since it cannot know."""

FILES = {"data/array", "data/debd", "data/images", "data/mnist", "data/pairs", "data/shards", "data/table", "data/text"}
"""They need files of the user's."""

LONG = {"metric/latent_ais", "metric/classes", "extractor/inception"}
"""Minutes, or a download: tested by files of their own."""

EXCUSED = {"optimizer/clipped": {"rate"}}
"""It cuts weights to a box at any learning rate."""

QUICK = ("optimizer", "data", "schedule", "corruption")
QUICK_PARTS = {"encoder/gaussian", "prior/standard_normal", "decoder/bernoulli", "network/mlp", "loss/elbo", "loss/pcd"}
SLOW = {"compile", "resume", "contract"}


def cases() -> list[Any]:
    found = []
    for entry in registry().entries():
        name = f"{entry.component.kind}/{entry.component.name}"
        if entry.plugin.distribution != "variata" or name in FILES | LONG:
            continue
        quick = entry.component.kind in QUICK or name in QUICK_PARTS
        checks = [check for check in checks_of(entry.component.kind) if check not in EXCUSED.get(name, ())]
        fast = [check for check in checks if check not in SLOW] if quick else []
        found += [pytest.param(name, fast, id=name)] if fast else []
        rest = [check for check in checks if check not in fast]
        found += [pytest.param(name, rest, id=f"{name}, slow", marks=pytest.mark.slow)] if rest else []
    return found


@pytest.mark.parametrize(("name", "checks"), cases())
def test_a_built_in_part_conforms(name, checks, without_pictures):
    skipped = check_component(name, checks, **ABOUT.get(name, {}))
    assert set(skipped) < set(checks) or set(checks) <= SLOW, skipped


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(variata_kernels.registered()))
def test_a_built_in_operator_conforms(name):
    check_component(f"kernel/{name}")
