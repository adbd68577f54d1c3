"""Pictures of a run (samples, reconstructions, chains, curves) and of its evaluation (codes, traversals,
interpolations, KL, likelihoods), and the commands `sample`, `reconstruct` and `inpaint`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from variata import Command, hookimpl

if TYPE_CHECKING:
    from variata import EvaluationContext, RunContext


@hookimpl
def variata_commands() -> list[Command]:
    """Commands that draw from a trained model."""
    here = "variata_plugins.pictures.commands"
    inpainting = "variata_plugins.pictures.inpainting:inpaint"
    return [
        Command("sample", f"{here}:sample", "Draw examples from a trained model, as a picture or as numbers."),
        Command("reconstruct", f"{here}:reconstruct", "Show test examples beside their reconstructions."),
        Command("inpaint", inpainting, "Hide a half of test examples, and draw it given the rest."),
    ]


@hookimpl
def variata_run_ended(context: RunContext) -> None:
    """Leaves samples.png, reconstructions.png and curves.png in the run, and chains.png where there are chains."""
    from .of_run import draw_run

    draw_run(context)


@hookimpl
def variata_evaluated(context: EvaluationContext) -> None:
    """Leaves codes.png, traversal.png, interpolation.png, kl.png and likelihoods.png, as far as the model allows."""
    if context.plots:
        from .of_evaluation import draw_evaluation

        draw_evaluation(context)
