"""`variata export`: files that other programs run, with the model's numbers, or none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import variata
from support import SMALL, refused
from variata_plugins.exporting.formats import difference, write_checked
from variata_plugins.exporting.parts import ExportedPart

QUICK = {"train.steps": 2}
INPUTS = {"encoder": ("x", "y"), "decoder": ("z", "y"), "all": ("x", "y")}


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    return variata.train("cvae", SMALL, run=tmp_path_factory.mktemp("export") / "run")


def expected(model, part, batch):
    z = model.encode(batch.x, batch.y)
    decoded = model.decode(z, batch.y)
    given = {"x": batch.x, "z": z, "y": batch.y}
    return [given[name] for name in INPUTS[part]], {"encoder": [z], "decoder": [decoded], "all": [z, decoded]}[part]


@torch.no_grad()
@pytest.mark.parametrize("part", INPUTS)
def test_torch_runs_each_part_with_batches_of_any_size(conditional, command, tmp_path, part):
    out = tmp_path / "part.pt2"
    assert command("export", conditional.path, "--part", part, "--out", out)[0] == 0
    program = torch.export.load(out).module()
    for count in (1, 30):
        batch = conditional.data.split("validation").batch(torch.arange(count))
        inputs, outputs = expected(conditional.model, part, batch)
        found = program(*inputs)
        torch.testing.assert_close([found] if len(outputs) == 1 else list(found), outputs, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("part", ["all", *(pytest.param(p, marks=pytest.mark.slow) for p in ("encoder", "decoder"))])
def test_onnx_gives_the_same_numbers(conditional, command, tmp_path, part):
    import onnxruntime

    out = tmp_path / "part.onnx"
    assert command("export", conditional.path, "--part", part, "--format", "onnx", "--out", out)[0] == 0
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == list(INPUTS[part])
    for count in (1, 30):
        batch = conditional.data.split("validation").batch(torch.arange(count))
        inputs, outputs = expected(conditional.model, part, batch)
        found = session.run(None, {name: value.numpy() for name, value in zip(INPUTS[part], inputs, strict=True)})
        for mine, theirs in zip(outputs, found, strict=True):
            np.testing.assert_allclose(theirs, mine.numpy(), rtol=1e-5, atol=1e-5)


def test_the_file_needs_torch_alone(tmp_path, without_pictures, command):
    """A circuit's density too, whose sums are an operator of ours."""
    run = variata.train("hclt", QUICK | {"model.structure.units": 3}, run=tmp_path / "run")
    out = tmp_path / "density.pt2"
    assert command("export", run.path, "--out", out)[0] == 0
    x = run.data.split("test").batch(torch.arange(5)).x
    torch.save(x, tmp_path / "x.pt")
    program = (
        "import sys, torch\n"
        f"x = torch.load({str(tmp_path / 'x.pt')!r})\n"
        f"print(*torch.export.load({str(out)!r}).module()(x).tolist())\n"
        "assert not any(name.startswith('variata') for name in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found = torch.tensor([float(v) for v in ran.stdout.split()])
    torch.testing.assert_close(found, run.model.log_prob(x).detach())


@pytest.mark.parametrize(
    ("preset", "outputs"),
    [("classifier", "x -> log_probabilities"), ("rbm", "z, reconstruction"), ("iaf_vae", "z, reconstruction")],
)
def test_all_is_what_the_model_can_say_of_an_x(tmp_path, without_pictures, command, preset, outputs):
    run = variata.train(preset, QUICK, run=tmp_path / "run")
    status, out, _ = command("export", run.path)
    assert status == 0
    assert outputs in out
    assert (run.path / "all.pt2").is_file()


def test_what_cannot_be_exported_is_refused_in_a_line(conditional, tmp_path, without_pictures, command):
    gan = variata.train("gan", QUICK, run=tmp_path / "gan").path
    for arguments, message in [
        ((conditional.path, "--part", "prior"), "--part: is one of encoder, decoder, all (got 'prior')"),
        ((conditional.path, "--format", "tflite"), "--format: is one of torch.export, onnx (got 'tflite')"),
        ((conditional.path, "--out", tmp_path / "x.txt"), "must end in .pt2"),
        ((tmp_path / "none",), "there is no such run"),
        ((gan, "--part", "encoder"), "GAN has no encoder: it cannot encode (try --part all)"),
        ((gan,), "GAN has neither codes, nor a density, an energy or classes of an x"),
    ]:
        (line,) = refused(command("export", *arguments))
        assert message in line


class Doubles(nn.Module):
    """Gives another number while it is traced, as a model that looks at the clock might."""

    def __init__(self):
        super().__init__()
        self.model = nn.Identity()

    def forward(self, x):
        return x * (2.0 + 1e-4 * torch.compiler.is_compiling())


class Looks(Doubles):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("format", ["torch.export", "onnx"])
def test_other_numbers_leave_no_file(tmp_path, format):
    part = ExportedPart(Doubles(), {"x": torch.arange(1.0, 4.0)[:, None]}, ("out",))
    out = tmp_path / "part"
    with pytest.raises(variata.Unsupported, match=r"differs from the model by .*e-05 \(at most 1e-05\)"):
        write_checked(part, out, format, {})
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_traced_is_named(tmp_path):
    part = ExportedPart(Looks(), {"x": torch.ones(3, 1)}, ("x",))
    with pytest.raises(variata.Unsupported, match="Identity cannot be traced: "):
        write_checked(part, tmp_path / "part.pt2", "torch.export", {})
    assert not list(tmp_path.iterdir())


def test_the_difference_is_relative_above_one():
    part = ExportedPart(Doubles(), {"x": torch.tensor([[1e6], [1e6]])}, ("x",))
    assert difference(part, lambda inputs: [2 * inputs["x"] + 2]) == pytest.approx(1e-6)
    small = ExportedPart(Doubles(), {"x": torch.zeros(2, 1)}, ("x",))
    with pytest.raises(variata.Unsupported, match="differs from the model by 2"):
        difference(small, lambda inputs: [2 * inputs["x"] + 2])
    with pytest.raises(variata.Unsupported, match=r"gives x \[2\], not \[2, 1\]"):
        difference(small, lambda inputs: [inputs["x"].flatten()])
    with pytest.raises(variata.Unsupported, match="differs from the model by inf"):
        difference(small, lambda inputs: [inputs["x"] / 0])
