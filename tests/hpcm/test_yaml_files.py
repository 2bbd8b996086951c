"""YAML as people write it: what is read, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcm.schema import ConfigError
from hpcm.yaml_files import override, parse, read_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(9 * [f'*{old}'])}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

READ: list[tuple[str, Any]] = [
    ("", None),
    ("# a comment\n", None),
    ("\ufeffa: 1", {"a": 1}),  # a byte-order mark
    ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
    ("day: 2001-01-01", {"day": "2001-01-01"}),  # text, which no field takes for a number
    ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
    ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
    ("a: =", {"a": "="}),
    ("a: [0, -7, 0x10, 1_000, 1.0e-4, .inf]", {"a": [0, -7, 16, 1000, 1.0e-4, float("inf")]}),
]


@pytest.mark.parametrize(("text", "value"), READ)
def test_what_yaml_means(text: str, value: Any) -> None:
    assert parse(text) == value


REFUSED = {
    "a: 1\nb: [": "line 2: not valid YAML: expected the node content",
    "a:\n\tb: 1": "line 2: not valid YAML: a tab; indent with spaces",
    "a: 1\n\nb: \x07": "line 3: not valid YAML: the character U+0007 is not allowed",
    "a: 1\na: 2": "line 2: not valid YAML: the key 'a' is written twice",
    "a: {b: 1,\n  3: 4}": "line 2: not valid YAML: the key 3 must be text",
    "a: 1\nnull: 4": "line 2: not valid YAML: the key null must be text",
    "? [a, b]\n: 1": "line 1: not valid YAML: the key made of several values must be text",
    "a: 1\n---\nb: 2": "line 2: not valid YAML: but found another document",
    "a: 010": "line 1: not valid YAML: 010 is no decimal number",
    "a: 1:30": "line 1: not valid YAML: 1:30 is no decimal number",
    f"a: {'9' * 5000}": f"line 1: not valid YAML: {'9' * 40}.. (5,000 characters) is no number",
    "a: 1:30.5": "line 1: not valid YAML: 1:30.5 is no decimal number; in quotes it is text",
    f"a: {'1:' * 500}1.5": "line 1: not valid YAML: 1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:.. (",
    "a: 0x_": "line 1: not valid YAML: 0x_ is no number",
    "a: 0b_": "line 1: not valid YAML: 0b_ is no number",
    "a: !!binary aGVsbG8=": "line 1: not valid YAML: !!binary is a tag; write the value without",
    "a: !!float ''": "line 1: not valid YAML: !!float is a tag",
    "a: !!bool abc": "line 1: not valid YAML: !!bool is a tag",
    "a: !!null x": "line 1: not valid YAML: !!null is a tag",
    "a:\n  !!map [1]": "line 2: not valid YAML: !!map is a tag",
    "!!seq {a: 1}": "line 1: not valid YAML: !!seq is a tag",
    "a: !!timestamp x": "line 1: not valid YAML: !!timestamp is a tag",
    "!!str a: 1": "line 1: not valid YAML: !!str is a tag",
    "a: ! 1": "line 1: not valid YAML: ! is a tag",
    "a: !!python/object/apply:os.getcwd []": "line 1: not valid YAML: !!python/object/apply:os.g",
    "a: &a [1, *a]": "line 1: not valid YAML: an alias stands inside what it is an alias of",
    LAUGHS: "line 5: not valid YAML: holds more than 10,000 values, its aliases written out",
    "a: " + 3000 * "[" + 3000 * "]": "not valid YAML: nested too deeply",
}


@pytest.mark.parametrize("text", REFUSED, ids=REFUSED.values())
def test_what_is_refused_and_why(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert str(raised.value).startswith(REFUSED[text])
    assert "\n" not in str(raised.value)


def test_a_file_is_named_in_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    for content, found in (
        (b"", "holds nothing, not a mapping"),
        (b"- 1", "holds list, not a mapping"),
        (b"a: [", "line 1: not valid YAML"),
        (b"a: \xfc", "cannot be read: not UTF-8 text"),
        (b"#" * 100_001, "100,001 bytes; at most 100,000 are read"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=f"^{path}: {found}"):
            read_yaml(path)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_yaml(tmp_path / "gone.yaml")


def test_an_override_is_a_path_and_a_value() -> None:
    assert override("a.b=[1, x]") == {"a": {"b": [1, "x"]}}
    assert override("a= 3") == {"a": 3}
    assert override("a=") == {"a": None}
    assert override("a=b=c") == {"a": "b=c"}
    assert override("a=1e-12") == {"a": 1e-12}  # which is text in a file
    assert override("a= -2E3") == {"a": -2000.0}
    assert override("a='1e-12'") == {"a": "1e-12"}


@pytest.mark.parametrize(
    "text", ["a", "=", "=3", ".a=3", "a.=3", "a..b=3", "a =3", " a=3", "a b=3", "a\n=3"]
)
def test_an_override_without_a_path_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set .*: write it as key\.path=value$"):
        override(text)


@pytest.mark.parametrize("value", ["[", "*a", "@x", "010", "[" * 5000, "9" * 5000])
def test_an_override_whose_value_is_no_yaml_is_refused_and_cut(value: str) -> None:
    with pytest.raises(ConfigError, match="^--set a=.*: the value is not valid YAML: ") as raised:
        override(f"a={value}")
    assert len(str(raised.value)) < 400
