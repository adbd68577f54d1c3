"""The gallery shows every preset as it is, in small files, and its command makes an entry."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "gallery"
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def gallery():
    found = importlib.util.spec_from_file_location("gallery", DOCS / "gallery.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_page_is_what_its_command_writes(gallery):
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == gallery.page(FOLDER), "run `make gallery`"


def test_its_files_are_small_and_belong_to_a_preset(gallery):
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert {Path(name).stem for name in sizes} <= set(gallery.presets())
    assert max(sizes.values()) < 0.1 * MEGABYTE
    assert sum(sizes.values()) < 3 * MEGABYTE
    for name, record in gallery.records(FOLDER).items():
        assert (f"{name}.png" in sizes) == bool(record["picture"])
        assert f"{name}.svg" in sizes


@pytest.mark.slow  # so that a preset may be tried out before it is shown
def test_every_preset_is_shown_as_it_is(gallery):
    assert gallery.stale(FOLDER) == [], "run `make gallery`"


def test_the_command_makes_an_entry(gallery, tmp_path, without_pictures):
    gallery.make("vae", tmp_path, ["train.epochs=1", "model.latent=2"])
    assert {path.name for path in tmp_path.iterdir()} == {"vae.json", "vae.png", "vae.svg"}
    record = json.loads((tmp_path / "vae.json").read_text())
    assert record["steps"] == 13
    assert record["figures"]["nll"]["kind"] == "upper_bound"
    shown = gallery.page(tmp_path)
    assert shown.count("\n### ") == 1
    assert f"-log p(x), nats ≤ {record['figures']['nll']['value']:.2f}" in shown
    assert record["preset"].rpartition("#")[2].partition("\n")[2].strip() in shown
    assert "vae" not in gallery.stale(tmp_path)
