r"""Autoencoders: a code z = f(x), and from it the example again.

    minimise over f, g   E_x[ L(x, g(f(x))) ] + what keeps f from copying x

Without anything else, a linear one finds the principal components (Bourlard and Kamp, 1988; Baldi and Hornik, 1989),
and a deep one a curved surface near the data (Hinton and Salakhutdinov, 2006). The error L is -log p(x | z) where the
decoder gives a law, and half the squared error or a cross entropy where it gives a point (`point.py`).

Here, in the order of reading. The model: the pair of encoder and decoder (`pair.py`), the autoencoder (`model.py`),
which draws from a density that is fitted to its codes after training (`ex_post.py`), and its losses: the error alone
(`reconstruction.py`), with a penalty on the encoder's Jacobian (`contractive.py`), with codes that are rarely on
(`sparse.py`). Then the denoising autoencoder (`denoising.py`): it restores what a corruption has spoilt, and to corrupt
and restore in turn is a Markov chain (`chain.py`) whose stationary law estimates the data's. It is trained by walking
that chain away from each example, and having it restored from every state on the way (`walkback.py`); one step of it is
the denoising criterion. `denoising_error.py` measures how well a model restores.
"""

from pathlib import Path

from variata import Component, hookimpl

_HERE = "variata_plugins.autoencoder"


@hookimpl
def variata_components() -> list[Component]:
    """The models, their losses, densities of codes, and the decoder that gives a point."""
    return [
        Component(
            "model", "autoencoder", f"{_HERE}.model:DeterministicAutoencoder", "Autoencoder: codes without a law"
        ),
        Component(
            "model",
            "denoising_autoencoder",
            f"{_HERE}.denoising:DenoisingAutoencoder",
            "Restores what a corruption spoilt; samples by its chain",
        ),
        Component("decoder", "point", f"{_HERE}.point:PointDecoder", "A value for each element, and no law"),
        Component("loss", "reconstruction", f"{_HERE}.reconstruction:Reconstruction", "The error of reconstruction"),
        Component("loss", "contractive", f"{_HERE}.contractive:Contractive", "And the norm of the encoder's Jacobian"),
        Component("loss", "sparse", f"{_HERE}.sparse:Sparse", "And codes that are rarely on"),
        Component("loss", "denoising", f"{_HERE}.walkback:Denoising", "The error of restoring, after one step or more"),
        Component("prior", "ex_post_gaussian", f"{_HERE}.ex_post:ExPostGaussian", "Normal, fitted after training"),
        Component("prior", "ex_post_mixture", f"{_HERE}.ex_post:ExPostMixture", "Mixture of normals, fitted after it"),
        Component("metric", "denoising_error", f"{_HERE}.denoising_error:DenoisingError", "MSE of what is restored"),
    ]


@hookimpl
def variata_presets() -> Path:
    """autoencoder, denoising_autoencoder and others."""
    return Path(__file__).parent / "presets"
