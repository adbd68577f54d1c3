"""The conformance kit: the checks that the built-in parts pass, for the tests of anybody's plugin.

    import variata.testing

    test_conformance = variata.testing.conformance("my_prior")

makes a test of each check of the component's kind. `check_component` runs them without pytest, `check_preset` trains a
preset, and the functions below check a distribution, a model or a run by themselves. All raise `AssertionError` with
what is wrong.

kit.py          by name: `conformance`, `check_component`, `checks_of`
laws.py         distributions: normalised, drawn as their density says, with the right divergence
modules.py      gradients, types, devices, saving, pickling, compiling, independence of the batch
parts.py        encoders, priors, decoders, networks, corruptions     losses.py      losses
models.py       models, by capability                                 data_sets.py   data sets
figures.py      metrics, loggers                                      optimisation.py  optimisers, schedules
kernels.py      fused operators                                       presets.py, resuming.py  training
subject.py      what a check is given                                 partners.py    what the kit puts beside it
"""

from .kit import check_component, checks_of, conformance
from .laws import NotApplicable, check_divergence, check_law, check_seeds
from .presets import (
    check_preset,
    check_round_trip,
    check_sampling,
    check_saving,
    check_support,
    check_terms,
    check_training,
    first_batch,
)
from .resuming import check_resume

__all__ = [
    "NotApplicable",
    "check_component",
    "check_divergence",
    "check_law",
    "check_preset",
    "check_resume",
    "check_round_trip",
    "check_sampling",
    "check_saving",
    "check_seeds",
    "check_support",
    "check_terms",
    "check_training",
    "checks_of",
    "conformance",
    "first_batch",
]
