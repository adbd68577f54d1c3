r"""Tables: rows whose columns are of several kinds, and whose values may be missing.

    log p(x_O | z) = sum over the columns j that are there of log p_j(x_j | z),
    p_j  a Gaussian of numbers, a categorical law of levels, a negative binomial (or Poisson) law of counts

What is missing is left out of the likelihood, and shown to networks as zeros beside a mask of what is there
(`variata.Features`); so the bounds are bounds on log p(x_O), and any of them trains on what there is. The
importance-weighted one makes a MIWAE. What is missing is then estimated by self-normalised importance sampling,

    E[x_M | x_O]  ~  sum_k w_k E[x_M | z_k] / sum_k w_k,    w_k = p(x_O, z_k) / q(z_k | x_O),  z_k ~ q(z | x_O).

Files of text and their mistakes (`cells.py`), what their columns are (`kinds.py`), the data sets (`table.py`,
`bundled.py`), the law of a row (`law.py`) and its decoder (`decoder.py`), imputation (`imputation.py`), its command
(`command.py`) and its metric (`metric.py`).

Mattei and Frellsen (2019), MIWAE: deep generative modelling and imputation of incomplete data sets, arXiv:1812.02633.
Nazabal, Olmos, Ghahramani and Valera (2020), Handling incomplete heterogeneous data using VAEs, arXiv:1807.03653.
"""

from pathlib import Path

from variata import Command, Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """Data sets, the decoder and the metric."""
    here = "variata_plugins.tables"
    return [
        Component("data", "table", f"{here}.table:Table", "A CSV or parquet file: numbers, levels, counts, gaps"),
        Component("data", "sklearn_table", f"{here}.bundled:BundledTable", "wine, breast_cancer, diabetes or iris"),
        Component("decoder", "table", f"{here}.decoder:TableDecoder", "Columns of several kinds, some values missing"),
        Component("metric", "imputation", f"{here}.metric:Imputation", "Error of imputed values, beside simple ways"),
    ]


@hookimpl
def variata_commands() -> list[Command]:
    """`variata impute`."""
    return [Command("impute", "variata_plugins.tables.command:impute", "Fill what is missing in a table.")]


@hookimpl
def variata_presets() -> Path:
    """table_vae and table_miwae."""
    return Path(__file__).parent / "presets"
