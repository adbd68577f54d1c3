"""What the README shows is so: its table, its YAML, its Python."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import variata
from variata import registry
from variata.config import load_spec
from variata.yaml12 import parse

README = Path(__file__).parents[1] / "README.md"
TABLE = re.compile(r"(<!-- models:.*?-->\n)(.*?)(<!-- end -->)", re.DOTALL)


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language ("" for none), in their order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def table() -> str:
    """Every model with the presets that begin from it."""
    presets: dict[str, list[str]] = {}
    for name in sorted(registry().presets()):
        presets.setdefault(load_spec(name)["model"].use, []).append(f"`{name}`")
    models = sorted((e.component for e in registry().entries("model")), key=lambda model: model.name)
    rows = [f"| `{model.name}` | {model.description} | {', '.join(presets[model.name])} |" for model in models]
    return "\n".join(["| model | what it is | presets |", "| --- | --- | --- |", *rows, ""])


def test_the_table_of_models_is_that_of_the_models():
    text = README.read_text(encoding="utf-8")
    if os.environ.get("VARIATA_WRITE"):
        README.write_text(TABLE.sub(lambda m: m[1] + table() + m[3], text), encoding="utf-8")
        text = README.read_text(encoding="utf-8")
    found = TABLE.search(text)
    assert found is not None
    assert found[2] == table(), "run `VARIATA_WRITE=1 python -m pytest tests/test_readme.py`"


def test_it_is_short_beside_the_table():
    written = TABLE.sub("", README.read_text(encoding="utf-8"))
    assert len(written.splitlines()) <= 100


def test_the_yaml_is_checked(tmp_path, command):
    import numpy as np

    np.savez(tmp_path / "my_images.npz", x=(np.arange(50 * 144) % 256).reshape(50, 12, 12).astype(np.uint8))
    (block,) = blocks("yaml")
    (tmp_path / "my.yaml").write_text(block)
    assert parse(block, "readme").get("extends") is not None
    status, out, err = command("check", tmp_path / "my.yaml", f"data.path={tmp_path / 'my_images.npz'}")
    assert (status, err) == (0, "")
    assert "fine" in out
    (tmp_path / "my.yaml").write_text(block.replace("channels: [32, 64]}}", "chanels: [32, 64]}}", 1))
    _, _, err = command("check", tmp_path / "my.yaml")
    shown = next(line for line in blocks("") if line.startswith("error: my.yaml"))
    assert err.replace(f"{tmp_path}/", "") == shown


def test_the_part_of_your_own_trains(tmp_path, command):
    file = tmp_path / "my_parts.py"
    file.write_text(blocks("python")[1])
    run = tmp_path / "run"
    settings = ["loss=half", "train.epochs=1", "model.latent=2"]
    status, out, err = command("train", "vae", *settings, "--plugin", file, "--run", run, "--quiet")
    assert (status, err) == (0, "")
    assert str(run) in out
    assert (run / "plugins" / "my_parts.py").read_text() == file.read_text()
    plugin = next(p for p in registry().plugins if p.file == file.resolve())
    registry().unregister(plugin)
    status, _, err = command("evaluate", run)
    assert status == 2
    assert f"--plugin {run / 'plugins' / 'my_parts.py'}" in err
    loaded = variata.load(run, plugins=[run / "plugins" / "my_parts.py"])
    registry().unregister(next(p for p in registry().plugins if p.file is not None))
    assert loaded.spec["loss"].use == "half"


def test_the_python_is_as_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = blocks("python")[0]
    folder = "runs/vae-20261122-101500"
    code = code.replace('{"train.epochs": 50})', f'{{"train.epochs": 1}}, run="{folder}")')
    names: dict[str, object] = {"my_module": None, "my_tensor": (variata.build("vae").data.split("test").x > 8)}
    code = code.replace("encoder=my_module, ", "")
    exec(compile(code, "README", "exec"), names)
    assert "model" in names


@pytest.mark.parametrize("name", sorted(registry().presets()))
def test_presets_say_what_they_are(name):
    for _, path in registry().presets()[name]:
        assert path.read_text(encoding="utf-8").startswith("# ")
