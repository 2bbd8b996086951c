"""docs/methods.md: every method has a section, and every test it cites exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpcm.losses import REGULARIZERS, TASK_SETS
from hpcm.optimizers import BALANCERS, OPTIMIZERS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "methods.md").read_text()


def test_every_cited_test_exists() -> None:
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    known = {name for text in sources for name in re.findall(r"^def (test_\w+)", text, re.M)}
    cited = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(cited) > 40
    assert cited <= known, f"no such test: {sorted(cited - known)}"


PARTS = {
    "Tasks": TASK_SETS,
    "Balancers": BALANCERS,
    "Optimizers": OPTIMIZERS,
    "Regularizers": REGULARIZERS,
}
NO_PARTS = {"Gamma schedules"}  # headings among these that name none


@pytest.mark.parametrize("chapter", PARTS)
def test_every_method_that_has_a_section_exists(chapter: str) -> None:
    """Under its own name, in its own chapter. Each part is listed in docs/config.md anyway."""
    (section,) = re.findall(rf"^## {chapter}$(.*?)(?=^## |\Z)", PAGE, re.M | re.DOTALL)
    headings = set(re.findall(r"^### (.+)$", section, re.M)) - NO_PARTS
    named = [name for heading in headings for name in heading.split(" and ")]
    assert set(named) <= set(PARTS[chapter])
    assert len(named) == len(set(named)) >= 2


def test_every_link_inside_the_page_has_its_heading() -> None:
    headings = {h.lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", PAGE, re.M)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings
