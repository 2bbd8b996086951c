"""The page on search-space files says what the code does."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tuning.spaces.documents import TOP_LEVEL as KEYS
from tuning.spaces.grammar import PAGE, SECTIONS, TOP_LEVEL, described, grammar_page
from tuning.spaces.parameters import DISTRIBUTIONS
from tuning.spaces.sections import Sections


@pytest.fixture(scope="module")
def page() -> str:
    """It takes seconds to make."""
    return grammar_page()


def test_page_is_current(request: pytest.FixtureRequest, page: str) -> None:
    if request.config.getoption("--regenerate"):
        PAGE.write_text(page, encoding="utf-8")
        pytest.fail(f"WRITTEN {PAGE.name}: read the diff, then run without --regenerate")
    assert PAGE.read_text(encoding="utf-8") == page


def test_every_key_is_explained() -> None:
    assert tuple(key for key, _ in TOP_LEVEL) == KEYS
    assert list(SECTIONS) == [field.name for field in fields(Sections)]
    classes = [
        *DISTRIBUTIONS.values(),
        *(cls for group in SECTIONS.values() for cls in group.values()),
    ]
    for cls in classes:
        for name, comment, _ in described(cls):
            assert comment or name == "name", f"{cls.__name__}.{name} has no comment"


def test_the_default_of_every_choice_is_marked(page: str) -> None:
    marked = [line for line in page.splitlines() if line.endswith("| the default |")]
    assert [line.split("`")[1] for line in marked] == [
        f"{section}.name: {getattr(Sections(), section).name}"
        for section in ("scheduler", "searcher")
    ]
