"""How plain data is refused where the classes themselves say nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcm import TrainConfig
from hpcm.schema import ConfigError, about, shown


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"data": {"train": Path("kodak")}},
            r"mine: data\.train: PosixPath\('kodak'\) is not plain",
        ),
        (
            {"optimizer": {"betas": [0.9, {1}]}},
            r"mine: optimizer\.betas\.1: \{1\} is not plain data",
        ),
        ({"data": {3: 4}}, r"mine: data\.3: 3 is not plain data"),
        (Path("x"), r"mine: top level: PosixPath\('x'\) is not plain data"),
        ({"seed": 10**300 + 0.5}, r"mine: seed: 1e\+300: should be a valid integer"),
        ({"seed": "9" * 1000}, r"mine: seed: '9{199}\.\. \(1,002 characters\): should be a valid"),
        ({"precision": {"threads": 0}}, r"threads is 0; must be 1 to 1,024"),
        ({"precision": {"threads": 2**16}}, r"threads is 65536; must be 1 to 1,024"),
    ],
)
def test_what_is_no_plain_data_is_named_by_its_path(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        TrainConfig.from_plain(data, "mine")
    assert len(str(raised.value)) < 600


def test_of_many_problems_the_first_are_told() -> None:
    data = {f"x{number}": 1 for number in range(1000)}
    with pytest.raises(ConfigError) as raised:
        TrainConfig.from_plain(data, "mine")
    lines = str(raised.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "mine: and 980 more"


def test_a_terminal_obeys_nothing_in_a_message() -> None:
    for data in ({"\x1b[2J": 1}, {"seed": "\x1b]0;x\x07"}, {"optimizer": {"name": "a\u202eb"}}):
        with pytest.raises(ConfigError) as raised:
            TrainConfig.from_plain(data, "mine\x1b")
        assert str(raised.value).isprintable()
        assert str(raised.value).startswith(r"mine\x1b: ")
    assert str(ConfigError("two\nlines")) == "two\nlines"


def test_long_text_is_cut_with_its_length() -> None:
    assert shown("abc") == "abc"
    assert shown("x" * 300, most=10) == "xxxxxxxxxx.. (300 characters)"


def test_a_key_is_put_before_a_refusal_and_before_nothing_else() -> None:
    with pytest.raises(ConfigError, match="^data.val: no such set$"), about("data.val"):
        raise ConfigError("no such set")
    with pytest.raises(ValueError, match="^ours$"), about("data.val"):
        raise ValueError("ours")
