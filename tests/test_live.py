"""Live objects in place of components: tensors, datasets, modules, losses; and the notebook that shows them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import variata
from variata import ConfigError, DataError, DataSpec, DiagonalNormal, RunError
from variata_plugins.decoders.bernoulli import BernoulliDecoder
from variata_plugins.networks.mlp import MLP
from variata_plugins.vae.elbo import ELBO
from variata_plugins.vae.encoder import GaussianEncoder
from variata_plugins.vae.model import VAE
from variata_plugins.vae.prior import StandardNormalPrior

ROOT = Path(__file__).parents[1]
BITS = (torch.arange(600).reshape(60, 10) % 3 == 0).float()


class Own(nn.Module):
    """An encoder that knows nothing of variata but the distribution."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 8)

    def forward(self, x):
        return DiagonalNormal.packed(self.linear(x))


def test_build_takes_live_objects():
    loss, encoder = ELBO(beta=2.0), Own()
    assembly = variata.build("vae", {"model.latent": 4}, loss=loss, encoder=encoder, data=BITS)
    assert assembly.loss is loss
    assert assembly.model.encoder is encoder
    assert assembly.data.spec == DataSpec((10,), "binary", levels=2, transform="as given")
    terms = assembly.model.terms(BITS[:5], samples=3)
    assert terms.log_weights().shape == (3, 5)
    plain = assembly.spec.plain()
    assert plain["model"]["encoder"] == {"live": "test_live.Own"}
    assert plain["loss"] == {"live": "variata_plugins.vae.elbo.ELBO"}
    assert plain["data"] == {"live": "torch.Tensor [60, 10]"}


def test_a_run_with_live_objects_says_what_it_cannot_rebuild(tmp_path):
    settings = {"model.latent": 4, "train.epochs": 1}
    run = variata.train("vae", settings, run=tmp_path / "r", loss=ELBO(), encoder=Own(), data=BITS)
    with pytest.raises(
        ConfigError, match=r"model.encoder: was a live object \(test_live.Own\), which is not saved; pass"
    ):
        variata.load(run.path)
    again = variata.load(run.path, encoder=Own())
    assert torch.equal(again.model.encoder.linear.weight, run.model.encoder.linear.weight)
    with pytest.raises(RunError, match=r"the data was a live object \(torch.Tensor \[60, 10\]\): pass data="):
        variata.evaluate(again)
    with_data = variata.load(run.path, encoder=Own(), data=BITS)
    assert variata.evaluate(with_data, samples=2) == variata.evaluate(run, samples=2)


@pytest.mark.parametrize(
    "data",
    [
        BITS,
        BITS.numpy(),
        torch.utils.data.TensorDataset(BITS),
        {"train": BITS, "test": BITS[:7]},
    ],
)
def test_forms_of_live_data(data):
    source = variata.build("vae", data=data).data
    assert source.spec.shape == (10,)
    assert len(source.split("test")) in (6, 7)
    assert len(source.split("train")) in (48, 60)
    assert source.split("train").batch(torch.tensor([0, 1])).x.dtype == torch.float32


def test_labels_come_with_a_pair_or_a_dataset_of_pairs():
    labels = torch.arange(60) % 3
    for data in ((BITS, labels), torch.utils.data.TensorDataset(BITS, labels), (BITS.numpy(), labels.numpy())):
        assembly = variata.build("cvae", data=data)
        assert assembly.data.spec.classes == 3
        batch = assembly.data.split("train").batch(torch.arange(5))
        assert assembly.model.terms(batch.x, batch.y, 2).elbo.shape == (5,)


def test_eight_bit_images_are_levels():
    images = (np.arange(40 * 28 * 28).reshape(40, 1, 28, 28) % 256).astype(np.uint8)
    source = variata.build("grey_vae", data=images).data
    assert (source.spec.support, source.spec.levels) == ("levels", 256)
    x = source.split("train").batch(torch.arange(4)).x
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (iter([1]), "is neither a tensor nor a dataset with a length"),
        ([], "the data set is empty"),
        (torch.tensor([[0.0, float("nan")]] * 20), "row 0 holds NaN"),
        ((BITS, torch.arange(3)), "there are 60 examples but 3 labels"),
        ((BITS, -torch.ones(60, dtype=torch.long)), "labels must be integers from 0"),
        (torch.arange(40).reshape(20, 2), "have no meaning of their own"),
    ],
)
def test_live_data_that_is_wrong(data, message):
    with pytest.raises(DataError, match=message):
        variata.build("vae", data=data)


def test_an_unknown_live_part_is_an_unknown_option():
    with pytest.raises(ConfigError, match=r"model.encodr: unknown option, did you mean encoder\?"):
        variata.build("vae", encodr=Own())


def test_a_model_without_yaml():
    """The parts are classes like any other; a partial stands where YAML has a component."""
    data = DataSpec((10,), "binary")
    network = partial(MLP, hidden=[8])
    model = VAE(
        data,
        latent=3,
        encoder=partial(GaussianEncoder, network=network),
        prior=StandardNormalPrior,
        decoder=partial(BernoulliDecoder, network=network),
    )
    assert model.terms(BITS[:5]).elbo.shape == (5,)
    assert model.sample(2).shape == (2, 10)
    assert VAE(data, latent=3, decoder=BernoulliDecoder).sample(2).shape == (2, 10)


def test_conditional_models_draw_conditions_only_when_prepared():
    labels = torch.arange(60) % 3
    assembly = variata.build("cvae", data=(BITS, labels))
    with pytest.raises(variata.NotPrepared, match=r"variata\.prepare"):
        assembly.model.sample(2)
    assert assembly.model.sample(2, torch.tensor([0, 2])).shape == (2, 10)
    variata.prepare(assembly.model, assembly.data)
    assert assembly.model.conditions.counts.sum() == 48
    assert assembly.model.sample(2).shape == (2, 10)


@pytest.mark.slow
def test_the_notebook_runs():
    import nbclient
    import nbformat

    notebook = nbformat.read(ROOT / "docs" / "examples" / "own_parts.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (nn.MSELoss(), "loss: MSELoss is no Loss: subclass OnePhaseLoss"),
        (lambda model, batch, now: None, "loss: function is no Loss"),
    ],
)
def test_a_live_loss_of_another_kind_is_refused(loss, message):
    with pytest.raises(ConfigError, match=message):
        variata.build("vae", loss=loss, data=BITS)


class Flat(nn.Module):
    """An encoder that forgets that its dimensions are one event."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 2)

    def forward(self, x):
        return torch.distributions.Normal(self.linear(x), 1.0)


class FlatDecoder(Flat):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 10)

    def forward(self, z):
        return torch.distributions.Bernoulli(logits=self.linear(z), validate_args=False)


def test_laws_whose_elements_are_no_event_are_refused():
    encoded = variata.build("vae", {"model.latent": 2}, encoder=Flat(), data=BITS).model
    with pytest.raises(variata.Unsupported, match=r"Normal makes of each latent .*Independent\(law, 1\)"):
        encoded.terms(BITS[:7])
    decoded = variata.build("vae", {"model.latent": 2}, decoder=FlatDecoder(), data=BITS).model
    with pytest.raises(variata.Unsupported, match=r"has the shape \[7, 10\], not one value for each .* \[7\]: wrap"):
        decoded.terms(BITS[:7])
