r"""Which modes of a mixture samples cover, where the data's labels say which mode an example is of:

    m_c, s             mean of the training examples of class c; their spread about it in each coordinate, all together
    high quality       samples within `radius` s of the nearest m_c
    covered            classes c that are nearest to at least `least` high-quality samples
    modes_kl           KL of the classes' shares among high-quality samples from those of the training examples; biased
                       upward, by more the fewer the samples

Srivastava, Valkov, Russell, Gutmann and Sutton (2017), VEEGAN, arXiv:1705.07761 (within 3 s, 2,500 samples). Metz,
Poole, Pfau and Sohl-Dickstein (2017), Unrolled Generative Adversarial Networks, arXiv:1611.02163 (the KL).
"""

from __future__ import annotations

import torch
from pydantic import PositiveFloat, PositiveInt

from variata import (
    Data,
    DataError,
    Estimate,
    EvaluationSettings,
    Metric,
    Sampler,
    Unsupported,
    estimate,
    with_every_label,
)


class Modes(Metric):
    """ "modes_covered" of as many as there are, the share "modes_high_quality" of samples near one, and "modes_kl" in
    nats.

    Args:
        samples: how many are drawn.
        radius: how many standard deviations from its mode a sample may lie.
        least: high-quality samples that cover a mode.
    """

    requires = Sampler

    def __init__(self, *, samples: PositiveInt = 2500, radius: PositiveFloat = 3.0, least: PositiveInt = 1) -> None:
        self.samples, self.radius, self.least = samples, radius, least

    def measure(self, model: Sampler, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        spec, split = data.spec, with_every_label(data).split("train")
        if spec.classes is None or len(spec.shape) != 1 or spec.support != "real":
            raise Unsupported("modes counts those of labelled points, as blobs has them; this data has none")
        batch = split.batch(torch.arange(len(split)))
        if batch.y is None:
            raise DataError("the training examples have no labels that say which mode they are of")
        x, y = batch.x.double(), batch.y.long()
        counts = torch.bincount(y, minlength=spec.classes).double()
        known = counts > 0
        centres = torch.zeros(spec.classes, x.shape[1], dtype=x.dtype).index_add(0, y, x) / counts.clamp(min=1)[:, None]
        spread = float((x - centres[y]).square().mean().sqrt())
        distance, nearest = torch.cdist(model.sample(self.samples).double().cpu(), centres[known]).min(1)
        good = distance <= self.radius * spread
        found = torch.bincount(nearest[good], minlength=int(known.sum())).double()
        about = {"samples": self.samples, "radius": self.radius * spread, "of": int(known.sum())}
        figures: dict[str, Estimate] = {
            "modes_covered": {"value": float((found >= self.least).sum()), "standard_error": None, **about},
            "modes_high_quality": estimate(good.double(), **about),
        }
        if good.any():
            shares, expected = found / found.sum(), counts[known] / counts.sum()
            kl = float(torch.special.xlogy(shares, shares / expected).sum())
            figures["modes_kl"] = {"value": kl, "standard_error": None, "kind": "biased", **about}
        return figures
