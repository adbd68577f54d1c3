"""Every preset of every installed plugin keeps the contract, and every component occurs in one."""

from __future__ import annotations

import pytest

from variata import registry
from variata.config import load_spec
from variata.testing import check_preset

PRESETS = sorted(registry().presets())
# Components that no preset can name: they need files of the user's, or are a choice beside the usual one.
ELSEWHERE = {
    "data/array": "tests/test_data.py: it needs a file",
    "data/debd": "tests/test_debd.py: it needs files",
    "data/images": "tests/test_large_data.py: it needs files",
    "data/mnist": "tests/test_data.py: it needs a download",
    "data/shards": "tests/test_large_data.py: it needs files",
    "data/table": "tests/test_tables.py: it needs a file",
    "data/text": "tests/test_text.py: it needs a file",
    "data/pairs": "tests/test_text.py: it needs a file",
    "logger/csv": "tests/test_loggers.py",
    "logger/tensorboard": "tests/test_loggers.py",
}


@pytest.mark.parametrize("name", PRESETS)
def test_preset(name):
    check_preset(name)


def test_every_component_occurs_in_a_preset_or_is_excused():
    used = {
        f"{part.entry.component.kind}/{part.use}"
        for name in PRESETS
        for part in load_spec(name).parts()
        if part.entry is not None
    }
    offered = {f"{e.component.kind}/{e.component.name}" for e in registry().entries()}
    chosen = {name for name in offered if name.startswith(("optimizer/", "schedule/"))}
    chosen |= {name for name in offered if name.startswith(("metric/", "extractor/"))}  # no part of a specification
    assert offered - used - chosen - set(ELSEWHERE) == set()
