"""YAML 1.2 with places: what a value is, what is refused, and that writing and reading agree."""

from __future__ import annotations

import math

import pytest

from variata import ConfigError
from variata.yaml12 import dump, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-1.", -1.0),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("'1'", "1"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_scalars_follow_the_core_schema(text, value):
    got = parse(f"a: {text}", "f").plain["a"]
    assert got == value
    assert type(got) is type(value)


def test_not_a_number_is_read():
    assert math.isnan(parse("a: .nan", "f").plain["a"])


def test_what_is_dumped_reads_back_equal():
    values = [
        "1e-3",
        "no",
        "010",
        "null",
        "",
        "~",
        "a: b",
        "# x",
        " x",
        1e-3,
        1e22,
        1e-7,
        3,
        True,
        None,
        math.inf,
        "ü",
        "1_0",
    ]
    assert parse(dump({"a": values, "b": {"c": values}}), "f").plain == {"a": values, "b": {"c": values}}
    assert dump({"a": values}) == dump(parse(dump({"a": values}), "f").plain)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\na: 2\n", "f.yaml:2:1 a: duplicate key; keep one"),
        ("b: {c: 1, c: 2}\n", "f.yaml:1:11 b.c: duplicate key; keep one"),
        ("a: &x [*x]\n", "f.yaml:1:4 a[0]: an alias that contains itself"),
        ("a: &x {b: {c: *x}}\n", "f.yaml:1:4 a.b.c: an alias that contains itself"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "f.yaml:1:4 a: tag !!python/object/apply:os.system is not allowed",
        ),
        ("a: !mine 3\n", "f.yaml:1:4 a: tag !mine is not allowed"),
        ("a: !!set {b}\n", "f.yaml:1:4 a: tag !!set is not allowed"),
        ("a: !!int x\n", "f.yaml:1:4 a: 'x' is no !!int"),
        ("? [1]\n: 2\n", "f.yaml:1:3: a key must be a plain word"),
        ("a: [1,\n", "f.yaml:2:1: YAML syntax: while parsing a flow node"),
        ("a: b: c\n", "f.yaml:1:5: YAML syntax: mapping values are not allowed"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: YAML syntax: expected a single document"),
        ("\ta: 1\n", "f.yaml:1:1: YAML syntax"),
        ("a: \x00\n", "f.yaml"),
        ("", "f.yaml: the file is empty"),
        ("# nothing\n", "f.yaml: the file is empty"),
        ("a: *b\n", "f.yaml:1:4: YAML syntax: found undefined alias"),
        ("a: " + "[" * 5000 + "]" * 5000, "f.yaml: nested too deeply"),
    ],
)
def test_what_is_refused_says_where(text, line):
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.yaml")
    assert str(caught.value).startswith(line)


def test_problems_come_together():
    with pytest.raises(ConfigError) as caught:
        parse("a: 1\na: 2\nb: !x 1\n", "f")
    assert len(caught.value.problems) == 2


def test_aliases_that_multiply_are_refused_quickly():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    with pytest.raises(ConfigError, match="aliases expand to too many values"):
        parse(bomb, "f")


def test_an_alias_used_twice_is_fine():
    assert parse("a: &x {b: 1}\nc: *x\n", "f").plain == {"a": {"b": 1}, "c": {"b": 1}}
