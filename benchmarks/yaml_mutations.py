"""Ways to spoil a YAML file as people and accidents do; each takes its text and a random source.

What comes out is bytes: some of it is no text any more.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import yaml

Mutation = Callable[[str, random.Random], str]

#: In place of a value: other kinds, edges of numbers, what only YAML knows, what is no YAML.
VALUES = (
    *("", "~", "null", "true", "no", "[]", "{}", "[1]", "{a: 1}", "[[[[]]]]", "- 1", "x"),
    *("0", "-1", "1e-4", "1.0e-300", "1.0e+999", ".inf", "-.inf", ".nan", "9" * 40, "9" * 5000),
    *("0x10", "0b_", "010", "1_000", "1:30", "1:30.5", "2001-01-01", "2001-99-99", "=", "<<", "1."),
    *("!!float ''", "!!bool abc", "!!map [1]", "!!int x", "!!set {a}", "!x 1", "!!python/name:os"),
    *("*a", "&a x", "'", '"', "|", ">-", "%", "@x", "`", "? x", ": ", "#", "'\u202e'", '"\\e[2J"'),
    *("x" * 3000, "[" * 3000, "{a: " * 500, "\u00fc\u4e2d", "fast", "famo", "null: 1"),
)
TREES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1e-30, 1e300, float("inf"), float("nan"), 10**30, "", "x", "1e-4"),
    *([], [None], [[]], [1, "x"], {}, {"x": 1}, {"name": "x"}, {"name": None}, {"name": ["x"]}),
    *({"name": {"x": 1}}, {3: 4}, {"": ""}, {"a.b": 1}, ["x"] * 2000, {"x": {"x": {"x": []}}}),
)


def another_value(text: str, rng: random.Random) -> str:
    """A line's value is another."""
    lines = text.split("\n")
    number = rng.randrange(len(lines))
    key, colon, _ = lines[number].partition(": ")
    value = rng.choice(VALUES)
    lines[number] = f"{key}: {value}" if colon else f"{lines[number]} {value}"
    return "\n".join(lines)


def another_key(text: str, rng: random.Random) -> str:
    """A line's key is another, with a letter more, or gone."""
    lines = text.split("\n")
    number = rng.randrange(len(lines))
    key, colon, value = lines[number].partition(":")
    indent = key[: len(key) - len(key.lstrip())]
    lines[number] = f"{rng.choice((indent + rng.choice(VALUES), f'{key}x', indent))}{colon}{value}"
    return "\n".join(lines)


def lines(text: str, rng: random.Random) -> str:
    """A line is gone, twice, elsewhere, or indented otherwise."""
    found = text.split("\n")
    at = rng.randrange(len(found))
    line = found.pop(at)
    shifted = rng.choice((f"  {line}", f" {line}", f"\t{line}", line[1:], line.lstrip()))
    again = rng.choice(([], [line, line], [shifted], [line, "---"], ["...", line], [f"- {line}"]))
    found[at:at] = again
    if rng.random() < 0.3:
        found.insert(rng.randrange(len(found) + 1), line)
    return "\n".join(found)


def characters(text: str, rng: random.Random) -> str:
    """Single characters are others, gone, or more."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        new = rng.choice(
            ("", "", ":", "-", "\t", "{", "]", "'", '"', "#", "&", "*", "\x00", "\u2028")
        )
        text = text[:at] + new + text[at + rng.randint(0, 1) :]
    return text


def pieces(text: str, rng: random.Random) -> str:
    """A piece is elsewhere, twice, or the file ends early."""
    start, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    piece, at = text[start:end], rng.randrange(len(text) + 1)
    return rng.choice((text[:end], text[:start] + text[end:], text[:at] + piece + text[at:]))


def length(text: str, rng: random.Random) -> str:
    """Much of one thing: comments, keys, nesting, aliases of aliases, values."""
    count = 10 ** rng.randint(1, 5)
    few = min(count, 2000)
    more = (
        "# \n" * count,
        "".join(f"x{number}: 1\n" for number in range(count)),
        "x: " + "[" * few + "]" * few + "\n",
        "x:\n" + "".join(f"{' ' * (depth + 1)}x:\n" for depth in range(min(count, 400))),
        "x: [" + "1, " * count + "]\n",
        "x0: &x0 [1]\n" + "".join(f"x{n}: &x{n} [{f'*x{n - 1}, ' * 9}]\n" for n in range(1, 30)),
        f"x: {'y' * count}\n",
        f"x: {'1:' * few}1.5\n",
    )
    return rng.choice((text + rng.choice(more), rng.choice(more) + text))


def trees(text: str, rng: random.Random) -> str:
    """Valid YAML, in which a section, a list or a value is something else or gone."""
    data = yaml.safe_load(text)
    places = list(_places(data))
    for _ in range(rng.randint(1, 3)):
        holder, key = rng.choice(places)
        other, name = rng.choice(places)
        value = other[name] if rng.random() < 0.3 else rng.choice(TREES)
        if rng.random() < 0.1:
            holder.pop(key)
            return yaml.safe_dump(data)
        holder[key] = yaml.safe_load(yaml.safe_dump(value))
        places = list(_places(data))
    return yaml.safe_dump(data)


MUTATIONS: tuple[Mutation, ...] = (
    *(another_value, another_key, lines, characters, pieces, length, trees),
)


def spoiled(text: str, rng: random.Random) -> tuple[str, bytes]:
    """The text after one to three mutations, and the name of the first."""
    first = rng.choice(MUTATIONS)
    text = first(text, rng)
    for _ in range(rng.choice((0, 0, 1, 2))):
        text = rng.choice(MUTATIONS[:-1])(text, rng)
    data = text.encode(errors="replace")
    if rng.random() < 0.03:
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.randbytes(rng.randint(1, 20)) + data[at:]
    return first.__name__, data


def _places(data: Any) -> list[tuple[Any, Any]]:
    """Every holder and key or index below ``data``."""
    keys = list(data) if isinstance(data, dict) else range(len(data))
    found: list[tuple[Any, Any]] = []
    for key in keys:
        found.append((data, key))
        if isinstance(data[key], dict | list):
            found += _places(data[key])
    return found
