"""YAML as people write it, read strictly: a message names the line of the mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hpcm.files import read_text
from hpcm.schema import ConfigError, number_advice, set_path, shown

MOST_BYTES = 100_000  # of a file, 3 s of PyYAML at the worst; the largest search space has 4,000
MOST_VALUES = 10_000  # with every alias written out; the largest search space has some hundreds
_KINDS = "tag:yaml.org,2002:"
MERGE = f"{_KINDS}merge"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML mapping. Raises :class:`ConfigError` with the line of what is wrong."""
    text = read_text(path, MOST_BYTES)
    try:
        data = parse(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        held = "nothing" if data is None else type(data).__name__
        raise ConfigError(f"{path}: holds {held}, not a mapping of keys to values")
    return data


def override(text: str) -> dict[str, Any]:
    """``a.b=value`` as nested dicts; the value is read as YAML. Raises :class:`ConfigError`."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[^\s.]+(\.[^\s.]+)*", key):
        raise ConfigError(f"--set {shown(text)}: write it as key.path=value")
    try:
        parsed = parse(value)
    except ConfigError as error:
        reason = str(error).removeprefix("line 1: ")
        raise ConfigError(f"--set {shown(text)}: the value is {reason}") from None
    if isinstance(parsed, str) and parsed == value.strip() and number_advice(parsed):
        parsed = float(parsed)  # 1e-4, which is text to YAML: on a command line a number is meant
    nested: dict[str, Any] = {}
    set_path(nested, key, parsed)
    return nested


def parse(text: str) -> Any:
    """The value of the one YAML document in ``text``; None if there is none.

    Mappings have text as keys, each once; values are mappings, lists, text, numbers, booleans and
    null, as they are written: a tag (``!!float``) is refused. Raises :class:`ConfigError`:
    ``line 3: not valid YAML: why``.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _extent(node, {})
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise _refusal(text, mark.index if mark else 0, str(error.problem)) from None
    except yaml.reader.ReaderError as error:
        what = f"the character U+{error.character:04X} is not allowed"
        raise _refusal(text, error.position, what) from None
    except RecursionError:
        raise ConfigError("not valid YAML: nested too deeply") from None


def _refusal(text: str, index: int, what: str) -> ConfigError:
    if "'\\t'" in what:
        what = "a tab; indent with spaces"
    line = text.count("\n", 0, index) + 1
    return ConfigError(f"line {line}: not valid YAML: {what}")


def _extent(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """How many values ``node`` stands for with every alias written out.

    A few lines of aliases to aliases can stand for more than a memory holds, so this is counted
    before anything is built. Raises a YAML error for too many, and for an alias inside its anchor.
    """
    if node in known:
        if known[node] == 0:
            raise _error(node, "an alias stands inside what it is an alias of")
        return known[node]
    known[node] = 0  # under way
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        parts = node.value
    elif isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    known[node] = 1 + sum(_extent(part, known) for part in parts)
    if known[node] > MOST_VALUES:
        raise _error(node, f"holds more than {MOST_VALUES:,} values, its aliases written out")
    return known[node]


def _error(node: yaml.Node, what: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader without its surprises: see :func:`parse`."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is no text, or is written twice instead of keeping the last."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _error(key_node, f"the key {_written(key_node)} must be text")
            if key in seen:
                raise _error(key_node, f"the key '{key}' is written twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse a tag: a value is what it looks like."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if tag := getattr(event, "tag", None):
            what = f"{shown(tag.replace(_KINDS, '!!'))} is a tag; write the value without"
            raise yaml.composer.ComposerError(None, None, what, event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """Refuse YAML 1.1's octal 010 and base-60 1:30, which nobody means."""
        written = str(node.value)
        if ":" in written or re.match(r"[-+]?0[0-7_]+$", written):
            raise _error(node, f"{shown(written, 40)} is no decimal number; in quotes it is text")
        try:
            whole = node.tag == f"{_KINDS}int"
            return int(self.construct_yaml_int(node)) if whole else self.construct_yaml_float(node)
        except ValueError:  # no digit, or more of them than Python converts
            raise _error(node, f"{shown(written, 40)} is no number") from None

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """A date is text, and so is ``=``: no field takes them for something else."""
        return str(node.value)


def _written(node: yaml.Node) -> str:
    return shown(node.value) if isinstance(node, yaml.ScalarNode) else "made of several values"


for _kind in ("int", "float"):
    _Loader.add_constructor(f"{_KINDS}{_kind}", _Loader.construct_number)
for _kind in ("timestamp", "value"):
    _Loader.add_constructor(f"{_KINDS}{_kind}", _Loader.construct_text)
