r"""log p(y | x) = log softmax(f(x))_y."""

from __future__ import annotations

from torch import Tensor

from variata import Classifier, ConfigError, DataSpec, Factory, Network, Problem, default, make


class NetworkClassifier(Classifier):
    """A classifier.

    Args:
        data: what an example is.
        network: f, from x to a number for each class.

    Raises:
        ConfigError: the data has no classes.
    """

    def __init__(self, data: DataSpec, *, network: Factory[Network] = default("network", "mlp")) -> None:
        super().__init__(data)
        if data.classes is None:
            raise ConfigError(Problem("a classifier needs data with classes, and this data has none"))
        self.network = make(network, input=data.shape, output=(data.classes,), condition=None)

    def classify(self, x: Tensor) -> Tensor:
        return self.network(x).log_softmax(-1)
