"""Sparse codes: a prior that wants most of them near zero, and a dictionary that they choose from."""

from pathlib import Path

from variata import Command, Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """The parts."""
    here = "variata_sparse"
    return [
        Component("prior", "laplace", f"{here}.laplace:LaplacePrior", "Independent Laplace laws"),
        Component("model", "sparse_coding", f"{here}.sparse_coding:SparseCoding", "A dictionary, and sparse codes"),
        Component("loss", "variational_em", f"{here}.variational_em:VariationalEM", "ELBO, in two phases"),
    ]


@hookimpl
def variata_presets() -> Path:
    """laplace_vae and sparse_coding."""
    return Path(__file__).parent / "presets"


@hookimpl
def variata_commands() -> list[Command]:
    """variata dictionary."""
    return [Command("dictionary", "variata_sparse.dictionary:dictionary", "Draw what a model is made of.")]
