"""The command `encode`: the codes of examples, for use outside variata (`command.py`)."""

from variata import Command, hookimpl


@hookimpl
def variata_commands() -> list[Command]:
    """The command `encode`."""
    target = "variata_plugins.encoding.command:encode"
    return [Command("encode", target, "Write the codes of examples to an .npz or a .csv file.")]
