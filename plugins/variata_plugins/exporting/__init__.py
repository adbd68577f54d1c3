"""The command `export`: a trained model's parts as files that other programs run, by torch.export and ONNX."""

from variata import Command, hookimpl


@hookimpl
def variata_commands() -> list[Command]:
    """The command `export`."""
    target = "variata_plugins.exporting.command:export"
    return [Command("export", target, "Write a part of a model for other programs: torch.export or ONNX.")]
