"""Maximum likelihood, for every model with an exact density."""

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The loss."""
    return [Component("loss", "nll", "variata_plugins.likelihood.nll:NLL", "Negative log-likelihood of a density")]
