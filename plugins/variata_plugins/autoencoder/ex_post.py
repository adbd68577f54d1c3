r"""A density of codes that is fitted after training, by maximum likelihood,

    p(z) = N(z; m, S)      or      p(z) = sum_k w_k N(z; m_k, S_k)   (expectation maximisation),

so that a model whose training asks nothing of its codes can sample. Where the model is conditional on labels there is
one for each class, p(z | y).

Ghosh, Sajjadi, Vergari, Black and Schoelkopf (2020), From Variational to Deterministic Autoencoders, arXiv:1903.12436
(section 4).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, MultivariateNormal

from variata import Autoencoder, Batch, DataSpec, Finishes, NotPrepared, Prior, Shape


class ExPost(Prior, Finishes):
    """What both densities share: the codes of the training examples, class by class.

    Args:
        data, latent, condition: sizes, from the model. The density does not depend on conditions that are vectors.
    """

    fitted: Tensor

    def __init__(self, data: DataSpec, latent: int, condition: Shape | None) -> None:
        super().__init__()
        self.latent, self.by_class = latent, condition is not None and data.classes is not None
        self.groups = (data.classes or 1) if self.by_class else 1
        self.register_buffer("fitted", torch.zeros(self.groups, dtype=torch.bool))

    @abstractmethod
    def law(self, group: Tensor) -> Distribution:
        """The density of each group `[*lead]`."""

    @abstractmethod
    def fit(self, group: int, codes: np.ndarray) -> None:
        """Fits one of them to codes `[n, latent]`, in float64."""

    def forward(self, y: Tensor | None = None) -> Distribution:
        if not self.fitted.any():
            raise NotPrepared(
                "the density of the codes is fitted after training: train the model to the end first; one that is "
                "trained with its prior, as a vae is, needs another prior"
            )
        if self.by_class:
            assert y is not None
            return self.law(y.long())
        zero = torch.zeros((), dtype=torch.int64, device=self.fitted.device)
        return self.law(zero if y is None else zero.expand(len(y)))

    @torch.no_grad()
    def finish(self, model: Any, stream: Iterable[Batch]) -> None:
        """Fits every group that has examples."""
        assert isinstance(model, Autoencoder)
        training = model.training
        model.eval()
        codes, groups = [], []
        for batch in stream:
            codes.append(model.encode(batch.x, batch.y).flatten(1).double().cpu())
            groups.append(batch.y.cpu() if self.by_class and batch.y is not None else torch.zeros(len(batch)))
        model.train(training)
        z, group = torch.cat(codes).numpy(), torch.cat(groups).numpy()
        for index in range(self.groups):
            if (group == index).any():
                self.fit(index, z[group == index])
                self.fitted[index] = True


class ExPostGaussian(ExPost):
    """A normal density.

    Args:
        data, latent, condition: as for `ExPost`.
        floor: added to each variance.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, data: DataSpec, latent: int, condition: Shape | None, *, floor: PositiveFloat = 1e-6) -> None:
        super().__init__(data, latent, condition)
        self.floor = floor
        self.register_buffer("mean", torch.zeros(self.groups, latent))
        self.register_buffer("scale", torch.eye(latent).repeat(self.groups, 1, 1))

    def law(self, group: Tensor) -> MultivariateNormal:
        return MultivariateNormal(self.mean[group], scale_tril=self.scale[group], validate_args=False)

    def fit(self, group: int, codes: np.ndarray) -> None:
        mean = codes.mean(0)
        covariance = (codes - mean).T @ (codes - mean) / len(codes) + self.floor * np.eye(self.latent)
        self.mean[group] = torch.from_numpy(mean).to(self.mean)
        self.scale[group] = torch.from_numpy(np.linalg.cholesky(covariance)).to(self.scale)


class ExPostMixture(ExPost):
    """A mixture of normal densities with covariances of their own.

    Args:
        data, latent, condition: as for `ExPost`.
        components: how many; fewer where a class has fewer examples.
        examples: codes that it is fitted to, at most, spread evenly over the training set.
        floor: added to each variance.
    """

    weight: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        components: PositiveInt = 10,
        examples: PositiveInt = 20_000,
        floor: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(data, latent, condition)
        self.components, self.examples, self.floor = components, examples, floor
        self.register_buffer("weight", torch.full((self.groups, components), 1 / components))
        self.register_buffer("mean", torch.zeros(self.groups, components, latent))
        self.register_buffer("scale", torch.eye(latent).repeat(self.groups, components, 1, 1))

    def law(self, group: Tensor) -> MixtureSameFamily:
        each = MultivariateNormal(self.mean[group], scale_tril=self.scale[group], validate_args=False)
        return MixtureSameFamily(Categorical(self.weight[group], validate_args=False), each, validate_args=False)

    def fit(self, group: int, codes: np.ndarray) -> None:
        from sklearn.mixture import GaussianMixture

        rows = np.linspace(0, len(codes) - 1, min(len(codes), self.examples)).astype(int)
        count = min(self.components, len(np.unique(codes[rows], axis=0)))
        # What has not converged after 200 iterations moves by less than anybody sees; scikit-learn would warn of it.
        found: Any = GaussianMixture(count, reg_covar=self.floor, random_state=0, tol=1e-3, max_iter=200)
        found.fit(codes[rows])
        self.weight[group] = 0.0
        self.weight[group, :count] = torch.from_numpy(found.weights_).to(self.weight)
        self.mean[group, :count] = torch.from_numpy(found.means_).to(self.mean)
        self.scale[group, :count] = torch.from_numpy(np.linalg.cholesky(found.covariances_)).to(self.scale)
