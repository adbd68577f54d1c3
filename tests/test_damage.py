"""Odd names, output that cannot be written, runs that were damaged: one line each, and never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import variata
from support import SMALL_TEXTS, Ran, refused

CONCEPTS = Path(__file__).parents[1] / "docs" / "concepts.md"
Run = Callable[..., Ran]


# Places and texts that are odd


@pytest.mark.parametrize("name", ["x" * 5000, "ünïcödé", "~/x", "vae.yaml/", "a\nb"])
def test_a_configuration_of_an_odd_name_is_not_there(command, name):
    (line,) = refused(command("train", name))
    assert "there is no preset or file" in line


def test_a_run_of_an_odd_name_is_not_there(command):
    for name in ("x" * 5000, "ünïcödé", "/dev/null", "vae"):
        assert refused(command("evaluate", name)) == [f"{name}: there is no such run"]


def test_text_that_is_not_utf8_is_refused(command):
    assert refused(command("check", "vae", "seed=\udcff")) == ["command line seed: is not text in UTF-8"]
    assert len(refused(command("check", "\udcff"))) == 1


def test_a_folder_in_place_of_a_file_is_named(command, run, tmp_path):
    assert refused(command("check", run)) == [f"{run}: is a folder, not a YAML file; did you mean {run}/spec.yaml?"]
    assert refused(command("check", tmp_path)) == [f"{tmp_path}: is a folder, not a YAML file"]
    assert refused(command("evaluate", run / "spec.yaml")) == [f"{run / 'spec.yaml'}: there is no such run"]


@pytest.mark.parametrize("folder", ["file", "file/below", "x" * 300])
def test_a_run_cannot_be_left_where_no_folder_can_be(command, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (line,) = refused(command("train", "vae", *SMALL_TEXTS, "--run", folder))
    assert line.endswith("; choose another --run")


def test_files_that_may_not_be_read_are_one_line(command, run, tmp_path, monkeypatch):
    def denied(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "mine.yaml").write_text("extends: vae\n")
    monkeypatch.setattr(Path, "read_text", denied)
    assert refused(command("check", tmp_path / "mine.yaml")) == [
        f"{tmp_path / 'mine.yaml'}: cannot be read: Permission denied"
    ]
    assert refused(command("evaluate", run)) == [f"{run / 'spec.yaml'}: cannot be read: Permission denied"]


def test_a_reader_that_goes_away_is_no_error():
    program = [sys.executable, "-m", "variata", "schema"]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() in (0, 1)


def test_output_that_is_closed_is_no_error():
    done = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m variata list >&-"], stderr=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written_is_one_line():
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "variata", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (2, "error: [Errno 28] No space left on device\n")


# Runs that are damaged

BUILT = "built:\n  data:\n"


def edited(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00\x01", b"[]", b"3", b"null", b"{}", b'{"a": [1'])
@pytest.mark.parametrize("name", ["spec.yaml", "plugins.json", "run.json", "model.safetensors"])
def test_a_file_of_a_run_that_is_damaged_is_named(command, run, name, content):
    (run / name).unlink()
    if content is None:
        (run / name).mkdir()
    else:
        (run / name).write_bytes(content)
    for line in refused(command("evaluate", run, "samples=1")):
        assert line.startswith(str(run))
        assert name in line


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    support: binary\n", "    support: purple\n"),
        ("    classes: 10\n", "    classes: ten\n"),
        ("    levels: 2\n", "    levels: [2]\n"),
        (BUILT, "built: 3\nmore:\n  data:\n"),
        (BUILT, "built:\n  other:\n"),
    ],
)
def test_a_specification_edited_by_hand_is_refused(command, run, old, new):
    edited(run / "spec.yaml", old, new)
    for line in refused(command("evaluate", run, "samples=1")):
        assert line.startswith(f"{run / 'spec.yaml'}")


@pytest.mark.parametrize(
    "change",
    [
        {"components": []},
        {"components": 3},
        {"components": {"loss/elbo": "x"}},
        {"components": {"loss/elbo": {"distribution": ["variata"], "version": "1"}}},
        {"components": {"loss/elbo": {"distribution": "variata"}}},
        {"files": 3},
        {"files": {"x": {}}},
        {"files": {"x": {"file": 3, "sha256": 4}}},
    ],
)
def test_a_list_of_plugins_edited_by_hand_is_refused(command, run, change):
    file = run / "plugins.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert refused(command("evaluate", run, "samples=1")) == [f"{file}: is missing or damaged"]


def test_another_version_is_a_warning_and_said_once(command, run):
    file = run / "plugins.json"
    file.write_text(file.read_text().replace(f'"version": "{variata.__version__}"', '"version": "0.0.1"'))
    status, _, err = command("evaluate", run, "samples=1", "--json")
    assert status == 0
    assert err == f"warning: {run}: was trained with variata 0.0.1, this is {variata.__version__}\n"


def test_a_device_that_is_not_here_is_named(run):
    with pytest.raises(variata.ConfigError, match="device: device 'cuda:99' cannot be used"):
        variata.load(run, device="cuda:99")


def test_metrics_that_were_cut_short_keep_their_whole_rows(run):
    file = run / "metrics.jsonl"
    rows = variata.load(run).metrics
    file.write_bytes(file.read_bytes()[:-20])
    assert variata.load(run).metrics == rows[:-1]
    file.write_bytes(file.read_bytes() + b"\n\xff{}}\n")
    assert variata.load(run).metrics == rows[:-1]
    file.unlink()
    assert variata.load(run).metrics == []


def test_an_evaluation_that_cannot_be_kept_is_printed_all_the_same(command, run):
    (run / "evaluation.json").mkdir()
    status, out, err = command("evaluate", run, "samples=1", "--json")
    assert (status, list(json.loads(out))[:4]) == (0, ["elbo", "reconstruction", "kl", "nll"])
    what = f"{run / 'evaluation.json'}: cannot be written: Is a directory; the estimates are not kept there"
    assert err == f"warning: {what}\n"
