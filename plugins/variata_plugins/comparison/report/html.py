"""The page as HTML: one file that needs no other and no network. What a record says is escaped, and a policy in the
page itself lets no script run but the page's own, and nothing be fetched."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ...graphs.svg import style as graph_style
from .contents import Page

_HERE = __name__.rpartition(".")[0]


def rendered(page: Page) -> str:
    """The page."""
    loader = PackageLoader(_HERE, "page")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    script, style = ((files(_HERE) / "page" / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        page=page,
        style=Markup(f"{graph_style('light')}\n{style}"),
        script=Markup(script),
        script_hash=script_hash,
    )
