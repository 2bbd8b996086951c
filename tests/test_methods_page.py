"""docs/methods.md: every method has a section, and every test it cites exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpcm.losses import TASK_SETS
from hpcm.optimizers import BALANCERS, OPTIMIZERS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "methods.md").read_text()


def test_every_cited_test_exists() -> None:
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    known = {name for text in sources for name in re.findall(r"^def (test_\w+)", text, re.M)}
    cited = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(cited) > 40
    assert cited <= known, f"no such test: {sorted(cited - known)}"


@pytest.mark.parametrize("name", [*TASK_SETS, *BALANCERS, *OPTIMIZERS])
def test_every_method_has_a_section(name: str) -> None:
    headings = re.findall(r"^### (.+)$", PAGE, re.M)
    assert any(name in heading.split() for heading in headings)


def test_every_link_inside_the_page_has_its_heading() -> None:
    headings = {h.lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", PAGE, re.M)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings
