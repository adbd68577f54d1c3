"""My description."""

from pathlib import Path

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """What is offered. Classes are named by strings, so that listing plugins does not import torch."""
    return [
        Component(
            kind="my_kind",
            name="my_part",
            target="variata_my_part.my_kind:MyPart",
            description="My description",
        )
    ]


@hookimpl
def variata_presets() -> Path:
    """The preset my_part, which users write as variata-my-part/my_part."""
    return Path(__file__).parent / "presets"
