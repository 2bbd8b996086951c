"""axe on the report and on the live page finds nothing, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.page.test_report_browser import finished, opened, window  # noqa: F401
from tests.tuning.page.test_serve_browser import DRAWN, Served, served  # noqa: F401
from tests.tuning.served import Made
from tests.tuning.webdriver import Browser

pytestmark = pytest.mark.browser
FOUND = (
    "const done = arguments[arguments.length - 1];"
    "axe.run(document, {resultTypes: ['violations']}).then(found => done(found.violations.map("
    "v => [v.impact, v.id, v.help, v.nodes.slice(0, 4).map(n => n.html.slice(0, 120))])))"
)


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core in one script, as a package without dependencies brings it."""
    return files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def violations(page: Browser, axe: str) -> Any:
    """Of every impact, each with the first elements that it is about."""
    page.run(axe)
    return page.post("/execute/async", {"script": FOUND, "args": []})


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_the_report(
    window: Browser,  # noqa: F811
    tmp_path: Path,
    make: Callable[..., Made],
    axe: str,
    width: int,
    dark: bool,
) -> None:
    page = opened(window, finished(tmp_path, make), width, dark)
    page.run("document.querySelector('#leaderboard tr[data-number=\"0\"] button').click()")
    page.wait("return !document.querySelector('#trial').hidden")
    assert violations(page, axe) == []


def test_the_live_page(window: Browser, served: Served, axe: str) -> None:  # noqa: F811
    window.size(1280, 1000)
    window.get(served.url)
    window.wait(DRAWN)
    window.wait("return !document.querySelector('#answer').hidden")
    assert violations(window, axe) == []
