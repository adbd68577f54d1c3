"""The law of a row of a table, against scipy and its sums; gaps that change nothing; what networks see of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

import variata
from variata import Column, DataSpec, Features
from variata_plugins.tables.decoder import TableDecoder, negative_binomial
from variata_plugins.tables.law import RowLaw

MIXED = DataSpec(
    (4,),
    "mixed",
    low=-math.inf,
    high=math.inf,
    measure="mixed",
    columns=(
        Column("calls", "count", mean=2.0),
        Column("age", "numeric"),
        Column("town", "categorical", ("a", "b", "c")),
        Column("sex", "categorical", ("f", "m")),
    ),
    missing=True,
)


class Linear(variata.Network):
    def __init__(self, input, output, condition=None):
        super().__init__(input, output, condition)
        self.map = torch.nn.Linear(input[0], output[0])

    def forward(self, x, y):
        return self.map(x)


def decoder(**options) -> TableDecoder:
    return TableDecoder(MIXED, 2, None, network=Linear, **options).double()


@pytest.mark.parametrize(("mean", "size"), [(0.3, 0.5), (7.0, 2.5), (40.0, 1000.0)])
def test_the_law_of_counts_is_scipys_and_sums_to_one(mean, size):
    law = negative_binomial(torch.tensor(mean).log(), torch.tensor(size).log())
    k = torch.arange(2000, dtype=torch.float64)
    expected = scipy.stats.nbinom.logpmf(k.numpy(), float(law.total_count), 1 - float(law.probs))
    np.testing.assert_allclose(law.log_prob(k).numpy(), expected, rtol=1e-9, atol=1e-9)
    p = law.log_prob(k).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-10)
    assert float((p * k).sum()) == pytest.approx(mean, rel=1e-6)
    assert float((p * k * k).sum() - (p * k).sum() ** 2) == pytest.approx(mean + mean**2 / size, rel=1e-6)


@pytest.mark.parametrize("scale", ["per_column", "per_output"])
def test_log_p_of_a_row_is_the_sum_of_its_columns(scale):
    part = decoder(scale=scale)
    part.offset.copy_(torch.randn(6))
    z = torch.randn(2, dtype=torch.float64)
    x = torch.tensor([3.0, -0.4, 2.0, 1.0], dtype=torch.float64)
    mu, logits, log_mean, *free = (part.network(z).detach()).split(part.sizes)
    logits, log_mean = logits + part.offset[:5], log_mean + part.offset[5:]
    logvar, log_size = free if scale == "per_output" else (part.logvar.detach(), part.log_size.detach())
    m, r = log_mean.exp().item(), log_size.exp().item()
    expected = scipy.stats.norm.logpdf(-0.4, mu.item(), math.sqrt(logvar.exp().item() + 0.01**2))
    expected += scipy.stats.nbinom.logpmf(3, r, r / (r + m))
    expected += float(logits[:3].log_softmax(0)[2] + logits[3:].log_softmax(0)[1])
    assert part(z).log_prob(x).item() == pytest.approx(expected, abs=1e-10)


def test_poisson_counts_are_scipys():
    with torch.no_grad():
        law = decoder(counts="poisson")(torch.zeros(2, dtype=torch.float64))
    x = torch.tensor([4.0, math.nan, math.nan, math.nan], dtype=torch.float64)
    assert float(law.log_prob(x)) == pytest.approx(scipy.stats.poisson.logpmf(4, float(law.mean[0])), abs=1e-10)


def test_levels_of_a_row_sum_to_one():
    law = decoder()(torch.randn(2, dtype=torch.float64))
    rows = torch.tensor([[math.nan, math.nan, a, b] for a in range(3) for b in range(2)], dtype=torch.float64)
    assert law.log_prob(rows).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_what_is_missing_adds_nothing_and_carries_no_gradient():
    part = decoder()
    z = torch.randn(5, 2, dtype=torch.float64)
    x = torch.tensor([[1.0, 0.3, 2.0, 1.0]] * 5, dtype=torch.float64)
    of_columns = part(z).log_prob_of_columns(x)
    for place in range(4):
        gap = x.clone()
        gap[:, place] = math.nan
        left = [i for i in range(4) if i != place]
        torch.testing.assert_close(part(z).log_prob(gap), of_columns[:, left].sum(1))
        part.zero_grad()
        part(z).log_prob(gap).sum().backward()
        rows = {0: [6], 1: [0], 2: [1, 2, 3], 3: [4, 5]}  # what the network gives each column
        gradient = part.network.map.weight.grad
        assert gradient.isfinite().all()
        for column, outputs in rows.items():
            assert bool((gradient[outputs] == 0).all()) == (column == place)


def test_samples_and_best_guesses_are_values_of_their_columns():
    law = decoder()(torch.randn(300, 2, dtype=torch.float64))
    for x in (law.sample(), law.mean):
        assert ((x[:, 2:] >= 0) & (x[:, 2:] < torch.tensor([3, 2])) & (x[:, 2:] == x[:, 2:].round())).all()
    assert ((law.sample()[:, 0] >= 0) & (law.sample()[:, 0] % 1 == 0)).all()


def test_features_show_levels_counts_and_what_is_there():
    features = Features(MIXED)
    x = torch.tensor([[2.0, -1.5, 1.0, 0.0], [5.0, math.nan, math.nan, 1.0]])
    seen = features(x)
    assert features.spec.shape == (11,)
    assert features.spec.regular
    none, two = 0.0, math.log(6 / 3)
    expected = [[none, -1.5, 0, 1, 0, 1, 0, 1, 1, 1, 1], [two, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1]]
    torch.testing.assert_close(seen, torch.tensor(expected, dtype=seen.dtype))


def test_what_is_drawn_has_the_decoders_type():
    for columns in (MIXED.columns, MIXED.columns[:1], MIXED.columns[2:]):
        data = DataSpec((len(columns),), "mixed", measure="mixed", columns=columns)
        for dtype in (torch.float32, torch.float64):
            law = TableDecoder(data, 2, None, network=Linear).to(dtype)(torch.zeros(3, 2, dtype=dtype))
            assert law.sample().dtype == dtype


def test_the_law_of_a_row_needs_no_table():
    law = TableDecoder(DataSpec((3,), "real"), 2, None, network=Linear)(torch.zeros(4, 2))
    assert isinstance(law, RowLaw)
    assert law.log_prob(torch.zeros(4, 3)).shape == (4,)
