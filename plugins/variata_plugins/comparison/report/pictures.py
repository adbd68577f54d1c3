"""Files of a comparison as they stand in its page: PNGs as data, graphs as SVG of which only known marks are kept."""

from __future__ import annotations

import base64
import struct
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from markupsafe import Markup

from variata import RunError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MARKS = {
    "svg": ("class", "role", "width", "height", "viewBox"),
    "rect": ("class", "x", "y", "width", "height", "rx"),
    "polyline": ("class", "points"),
    "polygon": ("class", "points"),
    "text": ("class", "x", "y", "font-size", "text-anchor"),
    "title": (),
}


def file_in(folder: Path, name: str) -> Path:
    """A file that a record names, which has to lie in the record's folder.

    Raises:
        RunError: it lies elsewhere.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise RunError(f"{folder}: its record names a file outside of it ({name})")
    return path


def png_data(path: Path) -> tuple[str, int, int]:
    """A PNG as a data address, its width and its height.

    Raises:
        RunError: it cannot be read, or is none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error
    if not content.startswith(_SIGNATURE) or len(content) < 24:
        raise RunError(f"{path}: is no PNG file")
    width, height = struct.unpack(">II", content[16:24])
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}", width, height


def graph_markup(path: Path) -> Markup:
    """A graph that `variata graph` wrote, for a page that gives it colours: only its own marks are kept, so that a file
    that somebody else changed brings neither scripts nor addresses.

    Raises:
        RunError: it cannot be read, or is no SVG.
    """
    try:
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise RunError(f"{path}: cannot be read as SVG ({error})") from error
    if _name(root) != "svg":
        raise RunError(f"{path}: is no SVG file")
    return Markup(_kept(root))


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _kept(element: ElementTree.Element) -> str:
    name = _name(element)
    if name not in _MARKS:
        return ""
    given = "".join(f' {key}="{escape(element.get(key, ""))}"' for key in _MARKS[name] if key in element.attrib)
    return f"<{name}{given}>{escape((element.text or '').strip())}{''.join(map(_kept, element))}</{name}>"
