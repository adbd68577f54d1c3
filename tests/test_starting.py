"""`init`: weights that start from a run, and parts that stay as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import variata

QUICK = {"train.epochs": 1, "train.batch_size": 500, "model.encoder.network.hidden": [8]}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> variata.Run:
    """A trained VAE."""
    return variata.train("vae", QUICK | {"seed": 7}, run=tmp_path_factory.mktemp("first") / "run")


def same(a: torch.nn.Module, b: torch.nn.Module, part: str) -> bool:
    mine, theirs = (module.get_submodule(part).state_dict() for module in (a, b))
    return all(torch.equal(mine[name], theirs[name]) for name in mine | theirs)


@pytest.mark.usefixtures("without_pictures")
def test_named_parts_are_copied_and_frozen_ones_stay(first: variata.Run, tmp_path: Path) -> None:
    start = {"init": {"from": str(first.path), "parts": ["encoder"], "freeze": ["encoder"]}}
    built = variata.build("vae", QUICK | start)
    assert same(built.model, first.model, "encoder")
    assert not same(built.model, first.model, "decoder")
    run = variata.train("vae", QUICK | start, run=tmp_path / "second")
    assert same(run.model, first.model, "encoder")
    assert not same(run.model, first.model, "decoder")
    assert not run.model.encoder.training


def test_without_names_all_of_it_is_copied_and_moves(first: variata.Run) -> None:
    built = variata.build("vae", QUICK | {"init.from": str(first.path)})
    assert all(same(built.model, first.model, part) for part in ("encoder", "decoder"))
    assert all(parameter.requires_grad for parameter in built.model.parameters())


def test_what_was_copied_is_not_prepared_anew(first: variata.Run) -> None:
    built = variata.build("vae", QUICK | {"init.from": str(first.path), "init.parts": ["decoder"]})
    built.model.decoder.offset.fill_(3.0)
    variata.prepare(built.model, built.data)
    assert (built.model.decoder.offset == 3).all()
    fresh = variata.build("vae", QUICK)
    fresh.model.decoder.offset.fill_(3.0)
    variata.prepare(fresh.model, fresh.data)
    assert not (fresh.model.decoder.offset == 3).all()


@pytest.mark.usefixtures("without_pictures")
def test_statistics_of_frozen_parts_stay(first: variata.Run, tmp_path: Path) -> None:
    normed = QUICK | {"model.encoder.network.norm": "batch"}
    a = variata.train("vae", normed, run=tmp_path / "a")
    frozen = {"init": {"from": str(a.path), "freeze": ["encoder"]}}
    b = variata.train("vae", normed | frozen, run=tmp_path / "b")
    assert any("running" in name or "mean" in name for name in a.model.encoder.state_dict())
    assert same(a.model, b.model, "encoder")


@pytest.mark.usefixtures("without_pictures")
def test_a_run_outlives_what_it_started_from(first: variata.Run, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(first.path, source)
    run = variata.train("vae", QUICK | {"init.from": str(source), "init.freeze": ["encoder"]}, run=tmp_path / "run")
    shutil.rmtree(source)
    assert same(variata.load(run.path).model, run.model, "decoder")
    longer = run.spec.plain()
    longer["train"]["epochs"] = 2
    again = variata.train(longer, run=run.path, resume=True)
    assert same(again.model, first.model, "encoder")
    assert not same(again.model, first.model, "decoder")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"init.parts": ["encodr"]}, r"init\.parts\[0\]: VAE has no part 'encodr', did you mean encoder\?"),
        ({"init.freeze": ["z"]}, r"init\.freeze\[0\]: VAE has no part 'z'"),
        ({"model.latent": 3}, r"does not fit the model: encoder\.network\.last\.weight is \[100, 8\], not \[6, 8\]"),
        ({"model.encoder.network.hidden": [8, 8]}, r"missing encoder\.network\.layers\.1\.weight"),
        ({"model.encoder.network.hidden": []}, r"unexpected encoder\.network\.layers\.0\.bias"),
        ({"init.from": "nowhere"}, r"init\.from: .*nowhere: there is no such run"),
        ({"init.from": "."}, r"init\.from: .*: is no run folder"),
        ({"init.freeze": ["encoder", "decoder"]}, "has no parameter to move, or all are frozen"),
        ({"init": {"parts": ["encoder"]}}, r"init\.from: a required option is missing"),
    ],
)
def test_what_does_not_fit_is_named(
    first: variata.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"init.from": str(first.path)} if "init" not in changed else {}
    with pytest.raises(variata.ConfigError, match=message):
        variata.train("vae", QUICK | options | changed, run=tmp_path / "run")


def test_the_place_in_the_file_is_named(first: variata.Run, tmp_path: Path) -> None:
    config = tmp_path / "second.yaml"
    config.write_text(f"extends: vae\ninit: {{from: {first.path}, parts: [decoder]}}\nmodel: {{latent: 3}}\n")
    with pytest.raises(variata.ConfigError, match=r"second\.yaml:2:7 init\.parts: .*does not fit decoder"):
        variata.build(config)


def test_damaged_weights_are_refused(first: variata.Run, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(first.path, source)
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(variata.ConfigError, match="no whole safetensors file"):
        variata.build("vae", QUICK | {"init.from": str(source)})
