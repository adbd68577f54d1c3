"""What a user gets wrong: a line for each problem, with its place and its remedy, exit status 2, and never a
traceback."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import variata
from variata import ConfigError, RunError
from variata.checkpoint import load_weights, save_weights

SMALL = ["train.epochs=1", "model.latent=2"]


@pytest.fixture
def check(tmp_path, command):
    """Writes a YAML file and checks it: the lines of standard error."""

    def check(text: str, *overrides: str) -> list[str]:
        file = tmp_path / "vae.yaml"
        file.write_text(text)
        status, out, err = command("check", file, *overrides)
        assert "Traceback" not in err
        assert out == ""
        assert status == 2
        lines = err.splitlines()
        assert all(line.startswith("error: ") for line in lines)
        return [line.removeprefix("error: ").replace(f"{tmp_path}{os.sep}", "") for line in lines]

    return check


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "extends: vae\nmodel:\n  encoder: {hiden: 3}\n",
            "vae.yaml:3:13 model.encoder.hiden: unknown option (known: network)",
        ),
        (
            "extends: vae\nmodel:\n  encoder: {network: {hiden: [3]}}\n",
            "vae.yaml:3:23 model.encoder.network.hiden: unknown option, did you mean hidden?",
        ),
        ("extends: vae\nmodell: {}\n", "vae.yaml:2:1 modell: unknown option, did you mean model?"),
        (
            "extends: vae\nmodel:\n  decoder: bernouli\n",
            "vae.yaml:3:12 model.decoder: unknown decoder bernouli, did you mean bernoulli?",
        ),
        (
            "extends: vae\nmodel:\n  encoder: standard_normal\n",
            "vae.yaml:3:12 model.encoder: standard_normal is a prior, but an encoder belongs here (",
        ),
        (
            "extends: vae\nmodel:\n  encoder: {network: {hidden: [200, sixty]}}\n",
            "vae.yaml:3:37 model.encoder.network.hidden[1]: must be a valid integer (got 'sixty')",
        ),
        (
            "extends: vae\ntrain: {optimizer: {lr: 0.00025d}}\n",
            "vae.yaml:2:25 train.optimizer.lr: must be a valid number or a schedule "
            "(constant, cosine, cyclic, linear, warmup) (got '0.00025d'); write 0.00025, without 'd'",
        ),
        (
            "extends: vae\ntrain: {batch_size: 1_000}\n",
            "vae.yaml:2:21 train.batch_size: must be a valid integer (got '1_000'); write 1000, without _",
        ),
        ("extends: vae\ntrain: {epochs: 2.5}\n", "vae.yaml:2:17 train.epochs: must be a valid integer (got 2.5)"),
        ("extends: vae\nloss: {beta: 1, beta: 2}\n", "vae.yaml:2:17 loss.beta: duplicate key; keep one"),
        ("extends: vae\nmodel: {latent: 0}\n", "vae.yaml:2:17 model.latent: must be greater than 0 (got 0)"),
        ("extends: vae\nmodel: {latent: [5]}\n", "vae.yaml:2:17 model.latent: must be a valid integer (got [5])"),
        ("extends: vae\nmodel: {latent: true}\n", "vae.yaml:2:17 model.latent: must be a valid integer (got true)"),
        ("extends: vae\nmodel: [vae]\n", "vae.yaml:2:8 model: must be the name of a model, or a mapping with `use`"),
        ("extends: vae\ntrain: 5\n", "vae.yaml:2:8 train: must be a mapping of options (got 5)"),
        ("extends: vae\nmodel: {decoder: {use: [x]}}\n", "vae.yaml:2:24 model.decoder: must be the name of a decoder"),
        ("extends: vea\n", "vae.yaml:1:10: there is no preset or file 'vea', did you mean vae?"),
        ("extends: missing.yaml\n", "vae.yaml:1:10: there is no file 'missing.yaml'"),
        ("extends: vae.yaml\n", "vae.yaml:1:10 extends: vae.yaml extends itself"),
        ("extends: [vae]\n", "vae.yaml:1:10 extends: must be the name of one preset or file"),
        ("a: [1\n", "vae.yaml:2:1: YAML syntax: while parsing a flow sequence"),
        ("a: &a [*a]\n", "vae.yaml:1:4 a[0]: an alias that contains itself"),
        ("", "vae.yaml: the file is empty"),
        ("- 1\n", "vae.yaml:1:1: must be a mapping"),
        ("just words\n", "vae.yaml:1:1: must be a mapping"),
        (
            "extends: vae\nloss: {use: elbo, free_bits: 1, capacity: 3}\n",
            "vae.yaml:2:7 loss: free_bits and capacity exclude",
        ),
        ("extends: vae\nmodel: {encoder: {input: [3]}}\n", "vae.yaml:2:19 model.encoder.input: unknown option"),
        ("extends: vae\nseed: -1\n", "vae.yaml:2:7 seed: must be greater than or equal to 0 (got -1)"),
    ],
)
def test_a_file_that_is_wrong(check, text, line):
    lines = check(text)
    assert len(lines) == 1
    assert lines[0].startswith(line)


def test_a_tag_is_refused_and_nothing_is_run(check, tmp_path):
    marker = tmp_path / "ran"
    lines = check(f"extends: vae\nseed: !!python/object/apply:os.system ['touch {marker}']\n")
    assert lines == ["vae.yaml:2:7 seed: tag !!python/object/apply:os.system is not allowed; write plain values"]
    assert not marker.exists()


def test_problems_are_reported_together(check):
    lines = check("extends: vae\nseed: x\nmodel:\n  latent: 0\n  prior: normal\nloss: {betta: 2}\n")
    assert [line.split(" ")[1].rstrip(":") for line in lines] == ["model.latent", "model.prior", "loss.betta", "seed"]


def test_missing_options_are_named(check):
    lines = check("model: {use: vae, decoder: bernoulli}\n")
    assert lines[0].startswith(
        "vae.yaml:1:1 data: a required option is missing (data: array, blobs, copy, debd, digits, "
    )
    assert lines[1].startswith("vae.yaml:1:8 model.latent: a required option is missing")
    assert lines[2].startswith("vae.yaml:1:1 loss: a required option is missing (loss: ")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.epoch=5", "error: command line train.epoch: unknown option, did you mean epochs?"),
        ("loss.beta=abc", "error: command line loss.beta: must be a valid number or a schedule"),
        ("loss.beta", "error: command line: 'loss.beta' is no override; write KEY=VALUE"),
        ("=3", "error: command line: '=3' is no override"),
        ("model.latent=", "error: command line model.latent: must be a valid integer (got null)"),
        ("loss.beta=[1,", "error: command line loss.beta: YAML syntax"),
        ("loss.use=elbow", "error: command line loss: unknown loss elbow, did you mean elbo?"),
        ("train.device=gpu9", "error: train.device: device 'gpu9' cannot be used"),
    ],
)
def test_an_override_that_is_wrong(command, tmp_path, override, line):
    status, out, err = command("train", "vae", override, "--run", tmp_path / "run")
    assert (status, out) == (2, "")
    assert err.startswith(line)
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("vea", "error: there is no preset or file 'vea', did you mean vae?"),
        ("nothing.yaml", "error: there is no file 'nothing.yaml'"),
        ("/", "error: /: is a folder, not a YAML file"),
    ],
)
def test_a_configuration_that_is_not_there(command, name, line):
    status, _, err = command("train", name)
    assert status == 2
    assert err.startswith(line)


def test_a_file_that_is_no_text(command, tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00a")
    status, _, err = command("check", tmp_path / "x.yaml")
    assert status == 2
    assert "is not text in UTF-8" in err


# Data


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path) -> Path:
    """A folder like MNIST's, of eight images."""
    for name in ("train", "t10k"):
        images, labels = np.arange(8 * 28 * 28).reshape(8, 28, 28) % 256, np.arange(8) % 10
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


@pytest.mark.parametrize("damage", ["magic", "cut", "gzip", "checksum"])
def test_damaged_mnist(command, mnist, damage):
    file = mnist / "train-images-idx3-ubyte"
    content = file.read_bytes()
    verify = "data.verify=false"
    if damage == "magic":
        file.write_bytes(b"\x12\x34" + content[2:])
    elif damage == "cut":
        file.write_bytes(content[:-10])
    elif damage == "gzip":
        file.unlink()
        (mnist / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content)[:-20])
    else:
        verify = "data.verify=true"
    arguments = ["data.use=mnist", "data.binarize=dynamic", f"data.root={mnist}", verify]
    status, _, err = command("check", "vae", *arguments)
    assert status == 2
    assert "train-images-idx3-ubyte" in err
    assert err.count("\n") == 1


def test_nan_in_the_data(command, tmp_path):
    x = np.zeros((10, 4), np.float32)
    x[7, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    arguments = ["data.use=array", f"data.path={tmp_path / 'x.npy'}", "model.decoder.use=gaussian"]
    status, _, err = command("check", "vae", *arguments)
    assert status == 2
    assert "row 7 holds NaN or infinity" in err


def test_grey_pixels_under_bernoulli(command):
    status, _, err = command("check", "vae", "data.binarize=none")
    assert status == 2
    assert "preset vae:9:12 model.decoder" in err
    assert "set data.binarize (dynamic, static or threshold)" in err
    assert "discretized_logistic" in err


def test_labels_missing_where_a_condition_is_asked_for(command, tmp_path):
    np.save(tmp_path / "x.npy", (np.arange(80).reshape(20, 4) % 2).astype(np.uint8).astype(bool))
    arguments = ["data.use=array", f"data.path={tmp_path / 'x.npy'}"]
    status, _, err = command("check", "cvae", *arguments)
    assert status == 2
    assert "condition: true needs labels, and this data has none" in err


def test_a_loss_that_the_model_cannot_serve(check):
    class Nothing(variata.Model):
        pass

    with variata.plugin([variata.Component("model", "nothing", Nothing)]):
        lines = check("data: digits\nmodel: nothing\nloss: elbo\n")
    assert lines == [
        "vae.yaml:3:7 loss: elbo needs a model that is a LatentVariable, and nothing is not; "
        "choose another loss or model"
    ]


# Runs


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "cvae"
    return variata.train("cvae", {"train.epochs": 1, "model.latent": 2}, run=folder).path


@pytest.fixture
def copied(run, tmp_path) -> Path:
    copy = tmp_path / "copied"
    copy.mkdir()
    for name in ("spec.yaml", "plugins.json", "run.json", "model.safetensors"):
        (copy / name).write_bytes((run / name).read_bytes())
    return copy


def test_a_class_that_training_never_had(tmp_path):
    x, y = np.zeros((40, 3), bool), np.array([0, 2] * 20)
    x[::2] = True
    settings = {"train.epochs": 1, "model.latent": 2}
    trained = variata.train("cvae", settings, run=tmp_path / "r", data=(x, y))
    with pytest.raises(ConfigError, match=r"class 1 never occurred in the training set \(classes: \[0, 2\]\)"):
        trained.model.sample(2, np_tensor([0, 1]))


def np_tensor(values):
    import torch

    return torch.tensor(values)


@pytest.mark.parametrize(
    ("condition", "message"), [("10", "the classes are 0..9"), ("x", "is no class: write 3, 0..9")]
)
def test_conditions_that_are_wrong(command, run, condition, message):
    status, _, err = command("sample", run, "--condition", condition)
    assert status == 2
    assert message in err


def test_a_condition_for_a_model_without(command, tmp_path):
    variata.train("vae", {"train.epochs": 1, "model.latent": 2}, run=tmp_path / "r")
    status, _, err = command("sample", tmp_path / "r", "--condition", "3", "--out", tmp_path / "x.png")
    assert status == 2
    assert "train one with model.condition=true" in err


def test_an_output_folder_that_cannot_be_written(command, tmp_path):
    (tmp_path / "file").write_text("x")
    status, _, err = command("train", "vae", *SMALL, "--run", tmp_path / "file" / "run")
    assert status == 2
    assert "cannot be written" in err


def test_an_output_folder_that_holds_something(command, tmp_path):
    (tmp_path / "notes").write_text("keep me")
    status, _, err = command("train", "vae", *SMALL, "--run", tmp_path)
    assert status == 2
    assert "is not empty; choose another --run" in err
    assert (tmp_path / "notes").read_text() == "keep me"


def test_a_run_that_is_not_there(command, tmp_path):
    status, _, err = command("evaluate", tmp_path / "nowhere")
    assert (status, err) == (2, f"error: {tmp_path / 'nowhere'}: there is no such run\n")
    status, _, err = command("evaluate", tmp_path)
    assert (status, err) == (2, f"error: {tmp_path}: is no run folder (it has no spec.yaml)\n")


@pytest.mark.parametrize("setting", ["samples=0", "samples=ten", "sample=3", "batch_size=-1"])
def test_evaluation_settings_that_are_wrong(command, run, setting):
    status, _, err = command("evaluate", run, setting)
    assert status == 2
    assert err.startswith(f"error: command line {setting.partition('=')[0]}: ")


def test_a_split_that_is_not_there(command, run):
    status, _, err = command("evaluate", run, "--split", "tset")
    assert status == 2
    assert "split: must be 'train', 'validation' or 'test' (got 'tset')" in err


def test_weights_that_are_cut_short(command, copied):
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    status, _, err = command("evaluate", copied)
    assert status == 2
    assert "is no whole safetensors file" in err
    weights.write_bytes(b"")
    assert command("evaluate", copied)[0] == 2
    weights.unlink()
    assert "there are no weights" in command("evaluate", copied)[2]


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_weights_whose_header_is_as_long_as_a_pickle_begins(tmp_path):
    file, found = tmp_path / "model.safetensors", False
    for length in range(560, 640):
        module = torch.nn.Module()
        module.register_buffer("x" * length, torch.ones(3))
        save_weights(module, file)
        if file.read_bytes()[:2] == b"\x80\x02":
            found = True
            load_weights(module, file)
    assert found


def test_weights_that_are_a_pickle(command, copied, monkeypatch):
    monkeypatch.chdir(copied)
    (copied / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    status, _, err = command("evaluate", copied)
    assert status == 2
    assert "is a pickle" in err
    import torch

    torch.save({"x": torch.zeros(1)}, copied / "model.safetensors")
    assert "is a pickle" in command("evaluate", copied)[2]
    assert not (copied / "exploded").exists()


def test_weights_of_another_model(copied, tmp_path):
    spec = (copied / "spec.yaml").read_text()
    (copied / "spec.yaml").write_text(spec.replace("latent: 2", "latent: 3"))
    with pytest.raises(RunError, match=r"does not fit the specification beside it: .* is \[4, 200\], not \[6, 200\]"):
        variata.load(copied)


def test_a_run_whose_plugin_is_not_installed(command, copied):
    record = json.loads((copied / "plugins.json").read_text())
    record["components"]["prior/standard_normal"] = {"distribution": "gone-parts", "plugin": "x", "version": "1.2"}
    (copied / "plugins.json").write_text(json.dumps(record))
    status, _, err = command("evaluate", copied)
    assert status == 2
    assert "needs the prior standard_normal of gone-parts 1.2, which is not installed: pip install gone-parts" in err


def test_a_damaged_description(command, copied):
    (copied / "plugins.json").write_text("{")
    assert "plugins.json: is missing or damaged" in command("evaluate", copied)[2]


def test_commands_that_do_not_exist():
    done = subprocess.run([sys.executable, "-m", "variata", "trian"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No such command" in done.stderr
    assert "Traceback" not in done.stderr
