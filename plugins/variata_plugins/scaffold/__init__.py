"""The command `new-plugin`: a package for a part of one's own, which builds, installs and passes its tests as it is.

`templates/package` is what every package holds, `templates/KIND` what that kind adds. Both are laid out as they will
be, and are valid files, with `my_part` in place of the name (`package.py`).
"""

from variata import Command, hookimpl


@hookimpl
def variata_commands() -> list[Command]:
    """The command `new-plugin`."""
    target = "variata_plugins.scaffold.command:new_plugin"
    return [Command("new-plugin", target, "Write a package for a part of your own, with its tests.")]
