"""A JSON Schema of everything installed, for completion in an editor: it follows from the signatures, as the checks
do."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import TypeAdapter

from .config import Root
from .declarations import Default
from .errors import PluginError
from .plugins import registry
from .signature import Option, place_of, signature_of


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a specification, with every installed component."""
    kinds = registry().kind_classes()
    definitions: dict[str, Any] = {}
    for kind in kinds.values():
        choices: list[dict[str, Any]] = []
        names: list[str] = []
        for entry in registry().entries(kind):
            try:
                part_class = entry.load()
            except PluginError:
                continue
            names.append(entry.component.name)
            described = {"const": entry.component.name, "description": entry.component.description}
            choices.append(_object(part_class, kinds, {"use": described}, ["use"]))
        definitions[kind] = {"anyOf": [{"enum": sorted(set(names))}, *choices]} if names else {"not": {}}
    root = _object(Root, kinds, {"extends": {"type": "string", "description": "A preset or a file to start from"}}, [])
    root["properties"]["built"] = {"type": "object", "description": "Written by variata into a run"}
    root.pop("required", None)
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, "title": "variata", **root, "$defs": definitions}


def _object(
    part_class: type, kinds: dict[type, str], properties: dict[str, Any], required: list[str]
) -> dict[str, Any]:
    options = signature_of(part_class).options.values()
    properties = properties | {option.name: _option(option, kinds) for option in options}
    described = (inspect.getdoc(part_class) or "").partition("\n")[0]
    return {
        "type": "object",
        "description": described,
        "properties": properties,
        "required": [*required, *(option.name for option in options if option.required)],
        "additionalProperties": False,
    }


def _option(option: Option, kinds: dict[type, str]) -> dict[str, Any]:
    place = place_of(option.annotation, kinds)
    if place.section is not None:
        return _object(place.section, kinds, {}, [])
    if place.kind is None:
        described = TypeAdapter(option.annotation).json_schema()
    else:
        component: dict[str, Any] = {"$ref": f"#/$defs/{kinds[place.kind]}"}
        component = {"type": "array", "items": component} if place.many else component
        choices = [component, *([TypeAdapter(place.leaf).json_schema()] if place.leaf is not None else [])]
        choices += [{"type": "null"}] if place.optional else []
        described = component if len(choices) == 1 else {"anyOf": choices}
    if isinstance(option.default, Default):
        return described | {"default": {"use": option.default.use, **dict(option.default.options)}}
    return described if option.required else described | {"default": option.default}
