"""Search spaces with odd values: refused in the project's own words, and not at any length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcm import ConfigError
from tests.tuning.small_spaces import put
from tuning import load_space


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("base/precision", "fast", "precision"),
        ("base/loss", "mse", "loss"),
        ("base/loss", {"lmbda": {"a": 1}}, "lmbda"),
        ("base/data", [1], "data"),
        ("base/ema", 3, "ema"),
        ("profiles/laptop/base/precision", "fast", "precision"),
    ],
)
@pytest.mark.parametrize("metric", ["val_rd_cost", "delta_rate"])
def test_a_section_that_is_none_is_refused(
    space_file: Callable[..., Path], path: str, value: Any, message: str, metric: str
) -> None:
    def change(data: dict[str, Any]) -> None:
        put("objective/metric", metric)(data)
        put(path, value)(data)

    with pytest.raises(ConfigError, match=message):
        load_space(space_file(change), "laptop")


def test_of_many_problems_the_first_are_told(space_file: Callable[..., Path]) -> None:
    def change(data: dict[str, Any]) -> None:
        data.update({f"x{number}": 1 for number in range(100)})

    with pytest.raises(ConfigError) as raised:
        load_space(space_file(change))
    lines = str(raised.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 80 more problems"
