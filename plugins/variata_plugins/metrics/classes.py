r"""What classes samples are of, told by a small network that has learned them from the training examples (`lenet.py`):

    class_agreement   share of samples x ~ p(x | y) that the network takes for y, of a model that is told the class
    class_coverage    how many classes have at least `least` of all samples, equally many of each where it is asked for

The network errs itself, by what stands in the notes as `extractor_accuracy`. Ravuri and Vinyals (2019), Classification
Accuracy Score for Conditional Generative Models, arXiv:1905.10887, train on samples and test on data instead.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, PositiveInt

from variata import Data, Estimate, EvaluationSettings, Metric, Sampler, Unsupported, estimate

from .extractor import fitted
from .lenet import LeNet
from .samples import device_of

_BLOCK = 500


class Classes(Metric):
    """ "class_coverage[lenet]", and "class_agreement[lenet]" of a model that is told the class.

    Args:
        samples: how many are drawn; of a model that draws by class, equally many for each class.
        least: the share of samples that makes a class present.
        steps: of training the network.
    """

    requires = Sampler

    def __init__(
        self,
        *,
        samples: PositiveInt = 10_000,
        least: Annotated[float, Field(gt=0, lt=1)] = 0.02,
        steps: PositiveInt = 2000,
    ) -> None:
        self.samples, self.least, self.extractor = samples, least, LeNet(steps=steps)

    def measure(self, model: Sampler, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        classes = data.spec.classes
        if model.conditional and classes is None:
            raise Unsupported("this model is told vectors, and no class that a sample could be held against")
        notes = fitted(self.extractor, data)
        assert classes is not None  # the extractor refuses data without labels
        self.extractor.to(device_of(model))
        asked = torch.arange(self.samples) % classes if model.conditional or model.by_class else None
        told = []
        for start in range(0, self.samples, _BLOCK):
            count = min(_BLOCK, self.samples - start)
            x = model.sample(count, None if asked is None else asked[start : start + count])
            told.append(self.extractor.network.classify(x).argmax(-1).cpu())
        found = torch.cat(told)
        shares = torch.bincount(found, minlength=classes) / self.samples
        about = {"samples": self.samples, "extractor": self.extractor.name, **notes}
        covered = {"value": float((shares >= self.least).sum()), "standard_error": None, "of": classes}
        figures: dict[str, Estimate] = {
            "class_coverage[lenet]": {**covered, "least": self.least, "shares": shares.tolist(), **about}
        }
        if asked is not None:
            figures["class_agreement[lenet]"] = estimate((found == asked).double(), **about)
        return figures
