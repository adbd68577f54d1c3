"""Nothing that is public goes without warning: the surface is held against the committed listing."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

import pytest

from surface import MODULES, first_line, lost, surface
from variata import hookspecs
from variata.testing import kit

LISTING = Path(__file__).with_name("public_surface.txt")
DOCS = Path(__file__).parents[1] / "docs"
GENERATED = re.compile(r"(<!-- (?:names|checks):.*?-->\n)(.*?)(<!-- end -->)", re.DOTALL)
COMMAND = "run `VARIATA_WRITE=1 python -m pytest tests/test_api.py`"


def listed() -> dict[str, str]:
    rows = (re.match(r"([\w. ]+?)(?:\((.*)\))?$", line) for line in LISTING.read_text(encoding="utf-8").splitlines())
    return {row[1]: row[2] or "" for row in rows if row}


def table() -> str:
    """Every public name with its first line, by module; and the hooks."""
    found = surface()
    lines: list[str] = []
    for module in MODULES:
        names = [n for n in found if n.rpartition(".")[0] == module]
        lines += [f"### `{module}`", "", "| name | what it is |", "| --- | --- |"]
        lines += [f"| `{n.rpartition('.')[2]}` | {first_line(n).replace('|', chr(92) + '|')} |" for n in names]
        lines += [""]
    lines += ["### Hooks", "", "| hook | what it is for |", "| --- | --- |"]
    for name in vars(hookspecs):
        if name.startswith("variata_"):
            said = " ".join((inspect.getdoc(getattr(hookspecs, name)) or "").split())
            lines.append(f"| `{name}` | {said} |")
    return "\n".join([*lines, ""])


def checks() -> str:
    """Every check of the conformance kit with the kinds that it is for."""
    rows: dict[tuple[str, str], list[str]] = {}
    for kind in [*kit.CHECKS, "kernel"]:
        for name, check in (kit.KERNELS if kind == "kernel" else kit.CHECKS[kind]).items():
            said = " ".join((inspect.getdoc(check) or "").split())
            assert said, f"the check {name} of a {kind} says nothing of itself"
            rows.setdefault((name, said.replace("|", "\\|")), []).append(kind)
    lines = ["| check | of | what it holds a part to |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| `{name}` | {', '.join(of)} | {said} |" for (name, said), of in rows.items()), ""])


def test_nothing_that_is_public_is_gone_or_called_in_another_way():
    now = surface()
    problems = lost(listed(), now) if LISTING.exists() else []
    if os.environ.get("VARIATA_WRITE"):
        lines = [f"{name}({words})" if words else name for name, words in now.items()]
        LISTING.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    remedy = f"keep it and deprecate it (docs/api.md), or, where nobody can have rested on it, {COMMAND}"
    assert problems == [], remedy


def test_everything_that_is_public_is_listed():
    assert sorted(set(surface()) - set(listed())) == [], COMMAND


@pytest.mark.parametrize(("name", "written"), [("api.md", table), ("conformance.md", checks)], ids=["names", "checks"])
def test_the_page_lists_what_there_is(name, written):
    page = DOCS / name
    text = page.read_text(encoding="utf-8")
    if os.environ.get("VARIATA_WRITE"):
        page.write_text(GENERATED.sub(lambda m: m[1] + written() + m[3], text), encoding="utf-8")
        text = page.read_text(encoding="utf-8")
    found = GENERATED.search(text)
    assert found is not None
    assert found[2] == written(), COMMAND


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("x, y=", "x, y=, z=", []),
        ("x, *, a=", "x, *, b=, a=", []),
        ("x", "x=", []),
        ("x, y=", "x", ["f: no longer takes y"]),
        ("x, y=", "x, y", ["f: y has no default any more"]),
        ("x", "x, y", ["f: requires y"]),
        ("x, y", "y, x", ["f: takes its positional parameters in another order, or by keyword alone"]),
        ("x, y=", "x, *, y=", ["f: takes its positional parameters in another order, or by keyword alone"]),
    ],
)
def test_what_is_lost_is_told_from_what_is_added(old, new, said):
    assert lost({"f": old}, {"f": new}) == said
    assert lost({"f": old, "g": ""}, {"f": new}) == ["g is gone", *said]
