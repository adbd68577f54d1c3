r"""What a critic f and a generator G minimise: two summands for f, one for G.

                     f at x of the data     f at x~ = G(z)          G                     f's least value
    minimax          -log s(f(x))           -log(1 - s(f(x~)))      log(1 - s(f(x~)))     log 4 - 2 JS(p, q)
    non_saturating   -log s(f(x))           -log(1 - s(f(x~)))      -log s(f(x~))         log 4 - 2 JS(p, q)
    least_squares    (f(x) - b)^2 / 2       (f(x~) - a)^2 / 2       (f(x~) - c)^2 / 2     (b - a)^2 / 2 int pq / (p + q)
    hinge            max(0, 1 - f(x))       max(0, 1 + f(x~))       -f(x~)                2 - 2 TV(p, q)
    wasserstein      -f(x)                  f(x~)                   -f(x~)                -W1(p, q)

p is the law of the data and q that of G, s the sigmoid, and f ranges over all functions, for wasserstein over those of
slope at most 1: the better f can tell p from q, the further they are apart. The non-saturating form has the fixed
points of minimax, and gradients where f is sure of x~.

Goodfellow et al. (2014), Generative Adversarial Networks, arXiv:1406.2661. Mao, Li, Xie, Lau, Wang and Smolley (2017),
Least Squares Generative Adversarial Networks, arXiv:1611.04076. Lim and Ye (2017), Geometric GAN, arXiv:1705.02894
(hinge). Arjovsky, Chintala and Bottou (2017), Wasserstein GAN, arXiv:1701.07875.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import relu, softplus


class Game(nn.Module, ABC):
    """What the players minimise, for each example, given the critic's values f `[n]`.

    `lipschitz` says that its f has to be held smooth: else there is no best one.
    """

    lipschitz: ClassVar[bool] = False

    @abstractmethod
    def real(self, f: Tensor) -> Tensor:
        """What the critic minimises at examples of the data, `[n]`."""

    @abstractmethod
    def fake(self, f: Tensor) -> Tensor:
        """What the critic minimises at the generator's examples, `[n]`."""

    @abstractmethod
    def generator(self, f: Tensor) -> Tensor:
        """What the generator minimises at its examples, `[n]`."""


class Minimax(Game):
    """The generator maximises what the critic minimises at its examples."""

    def real(self, f: Tensor) -> Tensor:
        return softplus(-f)

    def fake(self, f: Tensor) -> Tensor:
        return softplus(f)

    def generator(self, f: Tensor) -> Tensor:
        return -softplus(f)


class NonSaturating(Game):
    """The generator wants its examples taken for data, as the critic takes data."""

    def real(self, f: Tensor) -> Tensor:
        return softplus(-f)

    def fake(self, f: Tensor) -> Tensor:
        return softplus(f)

    def generator(self, f: Tensor) -> Tensor:
        return softplus(-f)


class LeastSquares(Game):
    """Squared distances to targets. With a = -1, b = 1, c = 0 the best critic is (p - q) / (p + q), and
    E_p[f^2] / 2 + E_q[f^2] / 2, of which the second summand is G's, is half of int (p - q)^2 / (p + q): Pearson's
    chi-squared divergence of 2 q from p + q.

    Args:
        fake: a, the critic's target at the generator's examples.
        real: b, its target at the data.
        wanted: c, what the generator wants it to be.
    """

    def __init__(self, *, fake: float = 0.0, real: float = 1.0, wanted: float = 1.0) -> None:
        super().__init__()
        self.a, self.b, self.c = fake, real, wanted

    def real(self, f: Tensor) -> Tensor:
        return 0.5 * (f - self.b).square()

    def fake(self, f: Tensor) -> Tensor:
        return 0.5 * (f - self.a).square()

    def generator(self, f: Tensor) -> Tensor:
        return 0.5 * (f - self.c).square()


class Hinge(Game):
    """The critic stops at margins of 1."""

    def real(self, f: Tensor) -> Tensor:
        return relu(1 - f)

    def fake(self, f: Tensor) -> Tensor:
        return relu(1 + f)

    def generator(self, f: Tensor) -> Tensor:
        return -f


class Wasserstein(Game):
    """Differences of means, of a critic that something else holds smooth."""

    lipschitz = True

    def real(self, f: Tensor) -> Tensor:
        return -f

    def fake(self, f: Tensor) -> Tensor:
        return f

    def generator(self, f: Tensor) -> Tensor:
        return -f
