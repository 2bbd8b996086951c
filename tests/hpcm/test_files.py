"""Whatever a path leads to is read, or refused in one message; nothing waits."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcm.files import parse_json, read_bytes, read_json, read_text
from hpcm.schema import ConfigError


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def circle(path: Path) -> None:
    path.symlink_to(path)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def latin(path: Path) -> None:
    path.write_bytes(b"M\xfcller")


#: How to make what is no file, and what is said of it.
ODD: list[tuple[Callable[[Path], None], str]] = [
    (folder, "cannot be read: a folder, not a file"),
    (pipe, "cannot be read: a pipe, not a file"),
    (bound_socket, "cannot be read: No such device or address"),
    (device, "cannot be read: a device, not a file"),
    (circle, "cannot be read: Too many levels of symbolic links"),
    (dangling, "cannot be read: No such file or directory"),
    (latin, "cannot be read: not UTF-8 text"),
]


@pytest.mark.parametrize(("make", "message"), ODD)
def test_what_is_no_file_is_refused_at_once(
    make: Callable[[Path], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("odd"))
    for read in (read_text, read_json):
        with pytest.raises(ConfigError, match=f"^odd: {message}$"):
            read(Path("odd"))


def test_a_path_that_is_none() -> None:
    with pytest.raises(ConfigError, match="cannot be read: no name of a file: embedded null"):
        read_bytes("a\0b")
    with pytest.raises(ConfigError, match="cannot be read: File name too long"):
        read_bytes("a" * 5000)


def test_a_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("text")
    (tmp_path / "link").symlink_to("there")
    assert read_text(tmp_path / "link") == "text"


def test_a_file_is_not_read_beyond_the_most_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(10**12)  # of no blocks
    with pytest.raises(ConfigError, match=r"large: 1,000,000,000,000 bytes; at most 1,000 are r"):
        read_bytes(path, most=1000)
    path.write_bytes(b"x" * 1000)
    assert read_bytes(path, most=1000) == b"x" * 1000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ('{"a": 1', "Expecting ',' delimiter"),
        ("[" * 100_000, "nested too deeply"),
        ("[NaN]", "NaN is no number"),
        ("-Infinity", "-Infinity is no number"),
        ("1e999", "1e999 is too large"),
        ("9" * 30, "9+ is too large"),
        ("9" * 10_000, "9+.. .10,000 characters. is too large"),
        (str(2**63), f"{2**63} is too large"),
    ],
)
def test_json_that_is_none_or_that_nobody_means(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"^here: not valid JSON: {why}") as raised:
        parse_json(text, "here")
    assert len(str(raised.value)) < 200


def test_json_that_is_read() -> None:
    assert parse_json(f'{{"a": [1.5, {-(2**63)}, null]}}', "here") == {"a": [1.5, -(2**63), None]}
    assert parse_json("[Infinity, 1e999]", "here", infinite=True) == [float("inf")] * 2
    assert parse_json("[" * 200 + "]" * 200, "here")
