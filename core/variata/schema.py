"""A JSON Schema of everything installed, for completion in an editor: it follows from the signatures, as the checks
do."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from pydantic_core import to_jsonable_python

from .config import Root, adapter_of
from .declarations import plain_default
from .errors import PluginError, VariataWarning
from .plugins import registry
from .signature import Option, place_of, signature_of

Kinds = dict[type, str]


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a specification, with every installed component. What has to be there it does
    not say: a file may extend another one, and then holds only what differs."""
    kinds = registry().kind_classes()
    definitions: dict[str, Any] = {}
    for kind in kinds.values():
        choices: list[dict[str, Any]] = []
        names: set[str] = set()
        for entry in registry().entries(kind):
            name = entry.component.name
            spellings = [name, f"{entry.plugin.distribution}/{name}"]
            described = {"enum": spellings, "description": entry.component.description}
            try:
                choices.append(_object(entry.load(), kinds, definitions, use=described))
                names.update(spellings)
            except PluginError as error:
                warnings.warn(f"{kind} {name} is left out of the schema: {error}", VariataWarning, stacklevel=2)
        definitions[kind] = {"anyOf": [{"enum": sorted(names)}, *choices]} if names else {"not": {}}
    extends = {"type": "string", "description": "A preset or a file to start from"}
    built = {"type": "object", "description": "Written by variata into a run"}
    draft = "https://json-schema.org/draft/2020-12/schema"
    root = _object(Root, kinds, definitions, extends=extends, built=built)
    return {"$schema": draft, "title": "variata", **root, "$defs": definitions}


def _object(part_class: type, kinds: Kinds, definitions: dict[str, Any], **more: Any) -> dict[str, Any]:
    options = signature_of(part_class).options.values()
    return {
        "type": "object",
        "description": (inspect.getdoc(part_class) or "").partition("\n")[0],
        "properties": more | {option.name: _option(option, kinds, definitions) for option in options},
        "additionalProperties": False,
    }


def _option(option: Option, kinds: Kinds, definitions: dict[str, Any]) -> dict[str, Any]:
    described = _value(option.annotation, kinds, definitions)
    return described if option.required else described | {"default": to_jsonable_python(plain_default(option.default))}


def _value(annotation: Any, kinds: Kinds, definitions: dict[str, Any]) -> dict[str, Any]:
    """What may stand at an annotated place."""
    place = place_of(annotation, kinds)
    choices: list[dict[str, Any]] = []
    if place.section is not None:
        choices.append(_object(place.section, kinds, definitions))
    if place.kind is not None:
        choices.append({"$ref": f"#/$defs/{kinds[place.kind]}"})
    if place.items is not None:
        choices.append({"type": "array", "items": _value(place.items, kinds, definitions)})
    if place.leaf is not None and place.section is None:
        leaf = adapter_of(place.leaf).json_schema(ref_template="#/$defs/{model}")
        definitions |= leaf.pop("$defs", {})
        choices.append(leaf)
    choices += [{"type": "null"}] if place.optional else []
    return choices[0] if len(choices) == 1 else {"anyOf": choices}
