"""Conditions: labels and vectors, drawn as training had them, asked for one by one or for all, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import variata
from variata import Batch, ConditionVectors, ConfigError, DataError, LabelFrequencies, NotPrepared, VariataWarning

BITS = (torch.arange(600).reshape(60, 10) % 3 == 0).float()
VECTORS = torch.linspace(-1, 1, 120, dtype=torch.float64).reshape(60, 2)
SMALL = {"train.epochs": 1, "model.latent": 2}


def test_vectors_condition_a_model_from_data_of_any_float_type_to_its_samples(tmp_path):
    run = variata.train("cvae", SMALL, run=tmp_path / "run", data=(BITS, VECTORS))
    assert (tmp_path / "run" / "samples.png").exists()
    model = run.model
    assert model.spec.condition == (2,)
    assert model.sample(7).shape == (7, 10)
    assert model.sample(3, torch.zeros(2)).shape == model.sample(3, torch.zeros(3, 2)).shape == (3, 10)
    with pytest.raises(ConfigError, match=r"a condition has the shape \[2\] \(got \[3\]\)"):
        model.sample(2, torch.zeros(2, 3))
    again = variata.load(tmp_path / "run", data=(BITS, VECTORS)).model
    assert torch.equal(again.conditions.vectors, model.conditions.vectors)
    drawn = model.conditions.draw(500)
    training = variata.build("cvae", data=(BITS, VECTORS)).data.split("train").y.float()
    assert all((row == training).all(1).any() for row in drawn)


def test_kept_vectors_are_some_of_all():
    vectors = torch.arange(5000.0)[:, None]
    kept = ConditionVectors((1,))
    with pytest.raises(NotPrepared, match="no condition is known yet"):
        kept.draw(1)
    kept.prepare([Batch(torch.zeros(2500, 1), part) for part in vectors.split(2500)])
    drawn = kept.draw(4000).flatten()
    assert len(drawn.unique()) > 900
    assert 2300 < float(drawn.mean()) < 2700


def test_labels_are_asked_for_one_by_one_or_one_for_all(tmp_path):
    run = variata.train("cvae", SMALL, run=tmp_path / "run", data=(BITS, torch.arange(60) % 3))
    assert run.model.sample(4, torch.tensor(2)).shape == run.model.sample(4, 2).shape == (4, 10)
    assert run.model.sample(3, [0, 1, 2]).shape == (3, 10)
    with pytest.raises(ConfigError, match=r"16 samples need 16 conditions, or one for all \(got 3\)"):
        run.model.sample(16, torch.tensor([0, 1, 2]))
    with pytest.raises(ConfigError, match=r"class 7 never occurred in the training set \(classes: \[0, 1, 2\]\)"):
        run.model.sample(1, torch.tensor([7]))
    plain = variata.build("vae", data=BITS).model
    with pytest.raises(ConfigError, match="this model has no condition"):
        plain.sample(2, torch.tensor([0, 1]))


def test_a_class_that_only_the_test_set_has_is_a_warning():
    splits = {"train": (BITS[:40], torch.arange(40) % 2 * 2), "test": (BITS[40:], torch.arange(20) % 3)}
    assembly = variata.build("cvae", SMALL, data=splits)
    variata.prepare(assembly.model, assembly.data)
    batch = assembly.data.split("test").batch(torch.arange(20))
    assembly.model.eval()
    with pytest.warns(VariataWarning, match=r"classes \[1\] never occurred in the training set"):
        assembly.model.terms(batch.x, batch.y)
    assembly.model.terms(batch.x, batch.y)  # said once
    seen = LabelFrequencies(3)
    seen.warn(torch.tensor([1]))  # nothing is known before it is prepared


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            {"train": BITS, "test": torch.rand(20, 10)},
            "its test part is .*continuous.* its training part .*binary",
        ),
        ({"train": (BITS, torch.arange(60) % 3), "test": BITS[:5]}, "its test part has labels of another form"),
        ({"train": (BITS, torch.full((60, 2), torch.nan))}, "data train: row 0 holds NaN"),
        ({"train": (BITS, torch.arange(60) * 10**9)}, "labels go up to 59000000000: number the classes from 0"),
    ],
)
def test_splits_that_do_not_fit(splits, message):
    with pytest.raises(DataError, match=message):
        variata.build("cvae", SMALL, data=splits)


def test_a_split_may_have_fewer_values_than_training_has():
    data = variata.build("continuous_vae", data={"train": torch.rand(50, 4), "test": torch.zeros(5, 4)}).data
    assert data.spec.support == "interval"


def test_vectors_from_a_file(tmp_path, command):
    np.savez(tmp_path / "x.npz", x=BITS.numpy(), y=VECTORS.numpy())
    settings = ["data.use=array", f"data.path={tmp_path / 'x.npz'}", "train.epochs=1", "model.latent=2", "-q"]
    status, _, err = command("train", "cvae", *settings, "--run", tmp_path / "run")
    assert (status, err) == (0, "")
    assert command("sample", tmp_path / "run", "-n", 4, "--out", tmp_path / "x.png")[0] == 0
    status, _, err = command("sample", tmp_path / "run", "--condition", 1, "--out", tmp_path / "x.png")
    assert status == 2
    assert "this model's condition is a vector: give it in Python" in err
