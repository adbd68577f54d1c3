r"""The generative stochastic network: a Markov chain with a memory, learned as a transition operator.

    x~_t ~ C(x~ | x_t),    h_{t+1} = f(x~_t, h_t, noise),    x_{t+1} ~ P(x | h_{t+1})

A denoising autoencoder draws its next x from what one corrupted x tells. Here layers of noisy hidden units remember
more than that, as in a deep Boltzmann machine whose sampler is trained by backpropagation, without a partition function
(Bengio, Thibodeau-Laufer, Alain and Yosinski, 2014). The model is `model.py`. The chain and its training by
walkback are those of the plugin `autoencoder`, whose denoising autoencoder is the case without a memory.
"""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The model; its loss is `denoising`."""
    return [Component("model", "gsn", "variata_plugins.gsn.model:GSN", "Generative stochastic network")]


@hookimpl
def variata_presets() -> Path:
    """gsn and others."""
    return Path(__file__).parent / "presets"
