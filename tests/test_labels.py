"""Data of which a few examples are labelled: which, how batches carry it, how training meets it."""

from __future__ import annotations

import pytest
import torch

import variata
from support import problems
from variata import Batch, Now, Objective, OnePhaseLoss, Term
from variata.processes import World
from variata.training.feeding import Feed
from variata_plugins.classifier.cross_entropy import CrossEntropy

CPU = torch.device("cpu")


def train_split(**options):
    return variata.build("classifier", {f"data.{key}": value for key, value in options.items()}).data.split("train")


def test_equally_many_of_each_class_are_labelled_and_the_others_say_minus_one():
    split, whole = train_split(labels=103), train_split(labels=None)
    assert whole.labelled is None
    counts = torch.bincount(split.y[split.labelled])
    assert split.labelled.sum() == 103
    assert counts.max() - counts.min() == 1
    assert (split.y[~split.labelled] == -1).all()
    assert torch.equal(split.y[split.labelled], whole.y[split.labelled])


def test_the_choice_is_a_function_of_its_own_seed():
    first, again, other = (train_split(label_seed=seed).labelled for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_is_held_out_keeps_every_label():
    data = variata.build("classifier").data
    for name in ("validation", "test"):
        batch = data.split(name).batch(torch.arange(50))
        assert batch.labelled is None
        assert batch.y.min() >= 0


@pytest.mark.parametrize(
    ("overrides", "remedy"),
    [
        ({"data.labels": 9}, "at least 10"),
        ({"data.labels": 1257}, "ask for at most"),
        ({"data.labels": 0}, "greater than 0"),
    ],
)
def test_what_cannot_be_labelled_is_refused_with_the_remedy(overrides, remedy):
    (problem,) = problems("classifier", overrides)
    assert "data" in problem
    assert remedy in problem


def test_a_batch_carries_what_is_labelled_through_take_and_parts():
    batch = Batch(
        torch.arange(4.0)[:, None], torch.tensor([1, -1, 0, -1]), torch.arange(4), torch.tensor([1, 0, 1, 0]) > 0
    )
    assert batch.take(torch.tensor([1, 2])).labelled.tolist() == [False, True]
    assert batch.labelled_part().y.tolist() == [1, 0]
    every = Batch(batch.x, torch.zeros(4, dtype=torch.long))
    assert len(every.labelled_part()) == 4


def test_every_training_batch_begins_with_labelled_examples_and_each_comes_once_a_pass():
    split = train_split()
    feed = Feed(split, 100, 0, World(), CPU, labelled=40)
    seen = []
    for step in range(5):
        batch, share, of = feed.batch(step)
        assert (len(batch), share, of) == (140, 140, 140)
        assert batch.labelled.tolist() == [True] * 40 + [False] * 100
        assert batch.y[:40].min() >= 0
        assert (batch.y[40:] == -1).all()
        seen += batch.index[:40].tolist()
    assert sorted(seen[:100]) == sorted(seen[100:]) == split.labelled_rows().tolist()
    assert torch.equal(feed.batch(3)[0].index, Feed(split, 100, 0, World(), CPU, labelled=40).batch(3)[0].index)


def test_processes_share_labelled_examples_as_well():
    split = train_split()
    whole = Feed(split, 100, 0, World(), CPU, labelled=30).batch(2)[0]
    parts = [Feed(split, 100, 0, World(rank, 2), CPU, labelled=30).batch(2)[0] for rank in (0, 1)]
    assert [int(part.labelled.sum()) for part in parts] == [15, 15]
    assert sorted(torch.cat([p.index for p in parts]).tolist()) == sorted(whole.index.tolist())


class Recorded(OnePhaseLoss):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, model, batch, now):
        self.seen.append(None if batch.labelled is None else int(batch.labelled.sum()))
        return Objective({"size": Term(sum(p.square().sum() for p in model.parameters()))})


@pytest.mark.usefixtures("without_pictures")
def test_only_what_classifies_is_given_labelled_examples_in_every_batch(tmp_path):
    for preset, seen in (("classifier", {100, None}), ("vae", None)):
        loss = Recorded()
        options = {"train.epochs": 1, "data.labels": 100}
        variata.train(preset, options, run=tmp_path / preset, loss=loss)
        if seen is None:
            assert sum(count or 0 for count in loss.seen[:13]) == 100  # each example once
        else:
            assert set(loss.seen) == seen


@pytest.mark.usefixtures("without_pictures")
def test_a_run_with_few_labels_goes_on_exactly_and_says_accuracy_and_error(tmp_path):
    lengths = {"train.epochs": 4, "train.optimizer.lr": 1e-3}
    whole = variata.train("classifier", lengths, run=tmp_path / "whole")
    variata.train("classifier", lengths | {"train.epochs": 2}, run=tmp_path / "cut")
    cut = variata.train(tmp_path / "cut", {"train.epochs": 4}, resume=True)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, cut.model.state_dict()[name]), name
    found = variata.evaluate(whole)
    assert found["accuracy"]["value"] + found["error"]["value"] == pytest.approx(1.0)
    assert found["error"]["standard_error"] > 0
    assert found["error"]["examples"] == 359
    assert variata.evaluate(whole, split="train")["error"]["examples"] == 100


def test_a_conditional_model_refuses_what_is_not_labelled():
    (problem,) = problems("cvae", {"data.labels": 100})
    assert "data.labels" in problem


def test_labels_of_live_data():
    data = variata.partly_labelled((torch.rand(200, 3), torch.arange(200) % 2), labels=10)
    assert data.spec.labelled == 10
    assert int(data.split("train").labelled.sum()) == 10
    assert variata.with_every_label(data).split("train").labelled is None


def test_the_cross_entropy_has_a_value_for_each_example_and_averages_the_known_ones():
    model = variata.build("classifier").model.double()
    x, y = torch.rand(5, 1, 8, 8, dtype=torch.float64), torch.tensor([3, -1, 7, -1, 0])
    batch = Batch(x, y, labelled=y >= 0)
    objective = CrossEntropy()(model, batch, Now.at_end())
    known = y >= 0
    expected = torch.nn.functional.cross_entropy(model.network(x[known]), y[known])
    assert objective.terms["cross_entropy"].value.shape == (5,)
    torch.testing.assert_close(objective.total(), expected)
    torch.testing.assert_close(CrossEntropy()(model, batch.take(known.nonzero()[:, 0]), Now.at_end()).total(), expected)
    nothing = CrossEntropy()(model, batch.take((~known).nonzero()[:, 0]), Now.at_end())
    assert nothing.total() == 0
