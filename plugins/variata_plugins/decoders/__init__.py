"""p(x | z) for each kind of data: what its values are decides which laws may be used.

Binary values: `bernoulli.py`. Real numbers: `gaussian.py`; in [0, 1]: `continuous_bernoulli.py`. Levels, such as
those of 8-bit images: `categorical.py` and `discretized_logistic.py`, whose bins (`levels.py`) are those that the
data has.
"""

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The decoders."""
    here = "variata_plugins.decoders"
    return [
        Component("decoder", "bernoulli", f"{here}.bernoulli:BernoulliDecoder", "Binary values"),
        Component(
            "decoder",
            "continuous_bernoulli",
            f"{here}.continuous_bernoulli:ContinuousBernoulliDecoder",
            "Numbers in [0, 1], with the constant that a Bernoulli lacks there",
        ),
        Component("decoder", "gaussian", f"{here}.gaussian:GaussianDecoder", "Real numbers; scale fixed or learned"),
        Component("decoder", "categorical", f"{here}.categorical:CategoricalDecoder", "Levels, a weight for each"),
        Component(
            "decoder",
            "discretized_logistic",
            f"{here}.discretized_logistic:DiscretizedLogisticDecoder",
            "Levels, a logistic law cut into bins",
        ),
    ]
