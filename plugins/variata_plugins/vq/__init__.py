r"""Vector quantisation: an autoencoder whose codes are numbers of vectors in a codebook.

    h = encoder(x), `positions` vectors;   c_i = argmin_k |h_i - e_k|^2;   z_i = e_(c_i);   p(x | z) by the decoder

There is no posterior with a density, so there is no bound on log p(x) and no NLL. It samples by a law of the strings
c_1 ... c_P that is fitted once training is over, p(c) = prod_i p(c_i | c_1 ... c_(i-1)).

Here: the model with its codebook (`model.py`), the loss, by moving averages or by gradients (`loss.py`), and a law of
strings (`autoregressive.py`), which is a model of its own.

van den Oord, Vinyals and Kavukcuoglu (2017), Neural Discrete Representation Learning, arXiv:1711.00937.
"""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The model, its loss, and a law of code strings."""
    here = "variata_plugins.vq"
    return [
        Component("model", "vq_vae", f"{here}.model:VQVAE", "Autoencoder with a codebook; samples by a law of codes"),
        Component("model", "autoregressive", f"{here}.autoregressive:Autoregressive", "GRU over strings of levels"),
        Component("loss", "vq", f"{here}.loss:VectorQuantisation", "Likelihood, commitment, and a codebook that moves"),
    ]


@hookimpl
def variata_presets() -> Path:
    """vq_vae and autoregressive."""
    return Path(__file__).parent / "presets"
