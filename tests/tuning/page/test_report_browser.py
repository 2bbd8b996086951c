"""The report in a real browser, from the disk: what it draws, saves, and never asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tuning.page.test_report import of_space, searched
from tests.tuning.page.test_serve_browser import CONTRAST, DRAWN, ENTER
from tests.tuning.served import ATTACK, Made
from tests.tuning.webdriver import Browser, browser
from tuning.ledger.events import Failed, Proposed
from tuning.ledger.folders import write_experiment
from tuning.ledger.ledger import Ledger
from tuning.page.report import write_report
from tuning.results.tables import read_result

pytestmark = pytest.mark.browser
REQUESTS = "return performance.getEntriesByType('resource').map(e => e.name)"
ODD = (
    "return [...document.querySelectorAll('svg *')].flatMap(e => [...e.attributes])"
    ".filter(a => /NaN|undefined|null|Infinity/.test(a.value)).map(a => a.value)"
)


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    """One browser for the module."""
    with browser() as opened:
        yield opened


def opened(window: Browser, directory: Path, width: int = 1280, dark: bool = False) -> Browser:
    """The report of an experiment, drawn, opened from the disk."""
    path = write_report(
        read_result(directory.name, str(directory.parent)), directory.parent / "report.html"
    )
    window.size(width, 1000, dark)
    window.console()
    window.get(path.as_uri())
    window.wait("return !document.querySelector('#answer').hidden")
    return window


def finished(tmp_path: Path, make: Callable[..., Made]) -> Path:
    return searched(tmp_path, of_space(tmp_path))


def attacked(tmp_path: Path, make: Callable[..., Made]) -> Path:
    return make(ATTACK)[0]


def empty(tmp_path: Path, make: Callable[..., Made]) -> Path:
    directory = tmp_path / "storage" / "rates-x"
    write_experiment(directory, of_space(tmp_path))
    return directory


def failed(tmp_path: Path, make: Callable[..., Made]) -> Path:
    directory = empty(tmp_path, make)
    ledger = Ledger(directory)
    ledger.open()
    ledger.append(Proposed(0, params=of_space(tmp_path).prior(), source="prior"))
    ledger.append(Failed(0, reason="ValueError: no image"))
    ledger.close()
    return directory


@pytest.mark.parametrize("made", [finished, attacked, empty, failed])
def test_it_opens_without_an_error_or_a_request(
    window: Browser,
    tmp_path: Path,
    make: Callable[..., Made],
    made: Callable[[Path, Callable[..., Made]], Path],
) -> None:
    page = opened(window, made(tmp_path, make))
    assert page.run(REQUESTS) == []
    assert page.run(ODD) == []
    assert page.run("return document.querySelectorAll('main img').length") == 0
    assert page.run("return document.querySelector('#live').innerText").startswith("report of 20")
    assert page.run("return document.querySelectorAll('#answer-lines li').length") >= 1
    assert page.console() == []


def test_charts_keyboard_and_pictures(
    window: Browser, tmp_path: Path, make: Callable[..., Made]
) -> None:
    page = opened(window, finished(tmp_path, make))
    assert page.run(DRAWN) == 12
    for place, least in (
        ("#incumbent path.curve", 1),
        ("#importance .share", 1),
        ("#effects .point", 12),
        ("#balance path.curve", 6),
        ("#rates path.reference", 1),
        ("#configs tbody tr", 1),
    ):
        count = page.run("return document.querySelectorAll(arguments[0]).length", place)
        assert count >= least, place
    names = page.run(
        "return [...document.querySelectorAll('#finalists tbody tr')]"
        ".map(row => row.cells[0].innerText)"
    )
    assert [name.split()[0] for name in names][:2] == ["0", "baseline"]
    page.run("document.querySelector('#leaderboard tr[data-number=\"0\"] button').focus()")
    page.press(ENTER)
    page.wait("return !document.querySelector('#trial').hidden")
    assert page.run("return document.querySelector('#h-trial').innerText") == "Trial 0"
    charts = page.run("return document.querySelectorAll('.chart svg').length")
    assert page.run("return document.querySelectorAll('.chart .save').length") == charts
    page.run(
        "window.saved = [];"
        "HTMLAnchorElement.prototype.click ="
        " function () { saved.push([this.download, this.href]) };"
        "document.querySelector('#curves .save').click()"
    )
    ((name, address),) = page.run("return saved")
    assert name.endswith("over_epochs.svg")
    assert address.startswith("blob:")
    assert page.run(REQUESTS) == []
    assert page.console() == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_every_width_and_theme_and_paper(
    window: Browser, tmp_path: Path, make: Callable[..., Made], width: int, dark: bool
) -> None:
    page = opened(window, finished(tmp_path, make), width, dark)
    assert page.run("return document.documentElement.scrollWidth") == width
    places = ["#answer-lines li", "#configs td", "#importance td", ".health th", ".save"]
    for place in places:
        assert page.run(CONTRAST, place) >= 4.5, place
    page.command("Emulation.setEmulatedMedia", media="print")
    assert page.run("return getComputedStyle(document.querySelector('.save')).display") == "none"
    page.command("Emulation.setEmulatedMedia", media="")
    assert page.console() == []
