"""YAML as people write it, read strictly: what is wrong is said with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hpcm.schema import ConfigError, number_advice, set_path, shown

MOST_VALUES = 100_000  # with every alias written out; the largest search space has some hundreds
MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML mapping. Raises :class:`ConfigError` with the line of what is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
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
    """The value of the one YAML document in ``text``; None where there is none.

    Mappings have text as keys, each once; values are mappings, lists, text, numbers, booleans and
    null. Raises :class:`ConfigError`: ``line 3: not valid YAML: why``.
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

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Refuse YAML 1.1's octal 010 and base-60 1:30, which nobody means."""
        written = str(node.value)
        if ":" in written or re.match(r"[-+]?0[0-7_]", written):
            raise _error(node, f"{written} is no decimal number; write it without leading zeros")
        try:
            return int(super().construct_yaml_int(node))
        except ValueError:  # more digits than Python converts
            raise _error(node, f"a number of {len(written)} digits") from None

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """A date is text: no field takes it for a number."""
        return str(node.value)

    def construct_refused(self, node: yaml.Node) -> None:
        """Refuse what only YAML knows."""
        raise _error(node, f"{node.tag.rpartition(':')[2]} is no kind of value here")


def _written(node: yaml.Node) -> str:
    return shown(node.value) if isinstance(node, yaml.ScalarNode) else "made of several values"


_KINDS = "tag:yaml.org,2002:"
_Loader.add_constructor(f"{_KINDS}int", _Loader.construct_yaml_int)
_Loader.add_constructor(f"{_KINDS}timestamp", _Loader.construct_text)
for _kind in ("binary", "omap", "pairs", "set"):
    _Loader.add_constructor(f"{_KINDS}{_kind}", _Loader.construct_refused)
