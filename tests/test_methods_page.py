"""docs/methods.md: every method has a section, and every test it cites exists."""

from __future__ import annotations

import re
from pathlib import Path

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


def test_every_method_that_has_a_section_exists() -> None:
    """Each part is listed in docs/config.md; this page has those with something to tell."""
    parts = {*TASK_SETS, *BALANCERS, *OPTIMIZERS, *REGULARIZERS}
    sections = re.split(r"^## ", PAGE, flags=re.M)
    found = set()
    for section in sections:
        if section.split("\n")[0] in ("Tasks", "Balancers", "Optimizers", "Regularizers"):
            headings = re.findall(r"^### (.+)$", section, re.M)
            found |= {word for heading in headings for word in heading.split()}
    assert len(found & parts) > 15
    assert found - parts == {"and", "gamma", "schedules", "Gamma"} & found


def test_every_link_inside_the_page_has_its_heading() -> None:
    headings = {h.lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", PAGE, re.M)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings
