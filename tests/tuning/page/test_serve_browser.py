"""The page in a real browser: what it draws, live, by keyboard, on a phone, under attack."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.tuning.searches import make_space
from tests.tuning.served import ATTACK, STATES, score
from tests.tuning.served import served as written
from tests.tuning.webdriver import Browser, browser
from tuning.ledger.driver_lock import driving
from tuning.ledger.events import Failed, Finished, Opened, Promoted, Proposed
from tuning.ledger.folders import read_experiment, write_experiment
from tuning.ledger.ledger import Ledger
from tuning.page.serve import application
from tuning.spaces.sections import Confirm, Objective

pytestmark = pytest.mark.browser
DRAWN = "return document.querySelectorAll('#leaderboard tbody tr').length"
TAB, ENTER, ESCAPE = "\ue004", "\ue007", "\ue00c"


class Served:
    """An experiment with its page on a free port, in a thread of its own."""

    def __init__(self, directory: Path, ledger: Ledger) -> None:
        self.ledger = ledger
        self.loop = asyncio.new_event_loop()
        self.runner = web.AppRunner(application(directory), access_log=None)
        self.loop.run_until_complete(self.runner.setup())
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        self.loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/"
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def close(self) -> None:
        """End the server and its thread."""
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(timeout=10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    """One browser for the module."""
    with browser() as opened:
        yield opened


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A search under way whose every text is an attack."""
    with written(tmp_path, ATTACK) as (directory, ledger), driving(directory):
        made = Served(directory, ledger)
        yield made
        made.close()


@pytest.fixture
def page(window: Browser, served: Served) -> Browser:
    """The page, drawn, on a screen of usual size."""
    window.size(1280, 1000)
    window.console()
    window.get(served.url)
    window.wait(DRAWN)
    return window


def text(page: Browser, selector: str) -> Any:
    return page.run("return document.querySelector(arguments[0]).innerText", selector)


def count(page: Browser, selector: str) -> int:
    return int(page.run("return document.querySelectorAll(arguments[0]).length", selector))


def test_rows_and_charts(page: Browser) -> None:
    assert count(page, "#leaderboard tbody tr") == len(STATES)
    assert text(page, "#state") == "running"
    assert count(page, "#curves path.curve") == 5  # all but the one that has no report
    assert count(page, "#curves line.rung") == 3
    assert count(page, "#rates .point") == 4  # a failed one has no finite PSNR
    assert count(page, "#parallel path.curve") == 6
    assert "Rung 1, epoch 1: 2 went on, 1 wait, 1 stopped" in text(page, "#rungs")
    assert "trial 3 failed" in text(page, "#failures")
    assert page.console() == []


def test_what_is_drawn_are_numbers(page: Browser) -> None:
    """NaN, null and infinity in the data leave no NaN in a drawing."""
    shapes = page.run(
        "return [...document.querySelectorAll('svg *')].flatMap(e => [...e.attributes])"
        ".filter(a => /NaN|undefined|null|Infinity/.test(a.value)).map(a => a.value)"
    )
    assert shapes == []


def test_an_attack_is_shown_and_does_nothing(page: Browser, served: Served) -> None:
    page.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.wait("return document.querySelector('#failures pre')")
    page.run("document.querySelector('#leaderboard tr[data-number=\"3\"] button').click()")
    page.wait("return document.querySelector('#trial-note').innerText.includes('nan')")
    for place in ("#question", "#facts", "#failures pre", "#failures", "#trial-note", "#history"):
        assert ATTACK in text(page, place), place
    assert count(page, "main img, header img") == 0
    assert page.run("return document.title").endswith("quick-x")
    refused = page.run(
        "try { document.body.innerHTML = '<b>x</b>'; return false } catch (e) { return true }"
    )
    assert refused
    assert count(page, "#leaderboard tbody tr") == len(STATES)
    inline = (
        "const s = document.createElement('script'); s.textContent = \"document.title='owned'\";"
    )
    page.run(f"try {{ {inline} document.body.append(s) }} catch (e) {{}}")
    assert page.run("return document.title").endswith("quick-x")


def test_the_best_trial_has_the_best_colour(page: Browser, served: Served) -> None:
    """Trials of early epochs have lower scores than it here."""
    for epoch in (1, 2):
        for number in (2, 4):
            score(served.ledger, number, 1 + epoch, 0.01)
    page.wait("return document.querySelector('#leaderboard').innerText.includes('0.01')")
    best = "return document.querySelector('#curves path.best').getAttribute('class')"
    assert page.run(best).split()[:2] == ["curve", "r0"]


def test_a_panel_without_anything_to_draw_is_a_line(page: Browser, served: Served) -> None:
    """On a phone an empty frame of 260 pixels was most of the screen."""
    page.size(400, 900)
    page.get(f"{served.url}?phone#trial-1")
    page.wait("return document.querySelectorAll('#weights path.curve').length == 2")
    heights = "return document.querySelector(arguments[0]).getBoundingClientRect().height"
    assert text(page, "#shares") == "This balancer has none."
    assert page.run(heights, "#shares") < 40 < page.run(heights, "#weights")
    page.run("document.querySelector('#leaderboard tr[data-number=\"5\"] button').click()")
    page.wait("return document.querySelector('#h-trial').innerText === 'Trial 5'")
    assert page.run(heights, "#weights") < 40


def test_a_search_that_has_just_begun_has_no_empty_frames(window: Browser, tmp_path: Path) -> None:
    directory = tmp_path / "storage" / "quick-x"
    write_experiment(directory, make_space(tmp_path))
    ledger = Ledger(directory)
    ledger.open()
    ledger.append(Proposed(0, params=make_space(tmp_path).prior(), source="prior"))
    made = Served(directory, ledger)
    window.size(400, 900)
    window.get(made.url)
    window.wait(DRAWN)
    for chart in ("#curves", "#rates"):
        assert text(window, chart) == "nothing to draw yet"
        heights = "return document.querySelector(arguments[0]).getBoundingClientRect().height"
        assert window.run(heights, chart) < 40
    made.close()
    ledger.close()


def test_reference_runs_are_told_where_there_are_any(page: Browser, served: Served) -> None:
    assert page.run("return document.querySelector('#references').hidden")
    directory = served.ledger.path.parent
    space = read_experiment(directory)
    write_experiment(directory, replace(space, objective=Objective(metric="delta_rate")))
    served.ledger.append(Opened(resumed=True, rate="val_bpp", quality="val_psnr"))
    params = {"loss.lmbda": 0.0065}
    served.ledger.append(Proposed(6, params=params, source="reference", lmbda=0.0065))
    served.ledger.append(Failed(6, reason="no images [/data]"))
    page.wait("return !document.querySelector('#references').hidden")
    told = text(page, "#references li")
    assert told == "reference runs: lmbda 0.0065 (trial 6) failed: no images [/data]"
    assert page.console() == []


def test_it_is_live(page: Browser, served: Served) -> None:
    score(served.ledger, 1, 4, 0.125)
    page.wait(
        "return document.querySelector('#leaderboard tr[data-number=\"1\"]')"
        ".innerText.includes('4/9')"
    )
    served.ledger.append(Proposed(6, params=served.ledger.trials[0].params, source="tpe"))
    page.wait(f"{DRAWN} == 7")
    assert page.console() == []


def test_a_promotion_is_marked_where_it_happened(page: Browser, served: Served) -> None:
    assert count(page, "#curves .risen") == 0
    served.ledger.append(Promoted(4, epoch=1, rank=1, peers=6))
    page.wait("return document.querySelectorAll('#curves .point.risen').length == 1")
    assert "promoted after waiting" in text(page, "#curves-legend")
    assert "Rung 1, epoch 1: 3 went on, 1 stopped" in text(page, "#rungs")


def test_many_failures_are_counted_and_listed_in_part(page: Browser, served: Served) -> None:
    params = served.ledger.trials[0].params
    for number in range(6, 36):
        served.ledger.append(Proposed(number, params=params, source="tpe"))
        served.ledger.append(Failed(number, reason="ValueError: odd"))
    page.wait("return document.querySelectorAll('#failures .failure').length == 20")
    assert text(page, "#failures .reasons tr").split("\t") == ["30", "ValueError: odd"]
    assert text(page, "#failures > .quiet") == "show 11 more"
    page.run("document.querySelector('#failures > .quiet').click()")
    assert count(page, "#failures .failure") == 31
    assert page.console() == []


def test_finalists_on_fresh_seeds(page: Browser, served: Served) -> None:
    """Of the prior and the one other that finished, on the space's three seeds."""
    assert page.run("return document.querySelector('#confirm').hidden")
    ledger = served.ledger
    directory = ledger.path.parent
    write_experiment(directory, replace(read_experiment(directory), confirm=Confirm(top=1)))
    ledger.append(Opened(resumed=True))
    for epoch in range(4, 10):
        score(ledger, 1, epoch, 1.2)
    ledger.append(Finished(1))
    for seed, of, value in ((1, 0, 1.5), (1, 1, 1.25), (2, 1, 1.75)):
        number = len(ledger.trials)
        params = ledger.trials[of].params
        ledger.append(Proposed(number, params=params, source="confirm", of=of, seed=seed))
        score(ledger, number, 9, value)
        ledger.append(Finished(number))
    page.wait("return document.querySelectorAll('#finalists tbody tr').length == 2")
    rows = [line.split("\t") for line in text(page, "#finalists tbody").splitlines()]
    assert rows[0] == ["0", "1.6111", "1.5", "-", "-", "1.5", "the prior"]
    assert rows[1] == ["1", "1.2", "1.25", "1.75", "-", "1.5 \u00b1 0.35", "-0.25"]
    assert text(page, "#confirm-note") == "3 of 6 runs have not ended"
    assert count(page, "#leaderboard tbody tr") == len(STATES)  # they are no trials of the search
    assert page.console() == []


def test_a_server_that_is_gone_is_told_and_what_was_known_stays(
    page: Browser, served: Served
) -> None:
    asyncio.run_coroutine_threadsafe(served.runner.cleanup(), served.loop).result(timeout=10)
    page.wait("return !document.querySelector('#problem').hidden")
    assert "does not answer" in text(page, "#problem")
    assert count(page, "#leaderboard tbody tr") == len(STATES)
    page.console()  # Chromium itself notes the refused connection


def test_by_keyboard(page: Browser) -> None:
    page.run("document.querySelector('#leaderboard tr[data-number=\"1\"] button').focus()")
    page.press(ENTER)
    page.wait("return document.querySelectorAll('#weights path.curve').length == 2")
    assert text(page, "#h-trial") == "Trial 1"
    assert count(page, "#gammas path.curve") == 1
    assert count(page, "#rates path.selected") == 1
    assert page.run("return location.hash") == "#trial-1"
    page.press(ESCAPE)
    page.wait("return document.querySelector('#trial').hidden")
    page.run("document.querySelector('#leaderboard th[data-key=\"epochs\"] button').focus()")
    page.press(ENTER)
    first = "return document.querySelector('#leaderboard tbody tr').dataset.number"
    assert page.run(first) == "5"  # nothing trained yet
    page.press(ENTER)
    assert page.run(first) == "0"
    column = "#leaderboard th[data-key='epochs']"
    assert page.run(f'return document.querySelector("{column}").ariaSort') == "descending"
    assert page.console() == []


def test_the_selection_survives_news(page: Browser, served: Served) -> None:
    page.run("document.querySelector('#leaderboard tr[data-number=\"1\"] button').focus()")
    page.press(ENTER)
    page.wait("return document.querySelectorAll('#weights path.curve').length == 2")
    score(served.ledger, 1, 4, 0.125)
    page.wait("return document.querySelector('#trial-note').innerText.includes('epoch 4')")
    focus = "return document.activeElement.closest('tr')?.dataset.number"
    assert page.run(focus) == "1"


def test_a_state_can_be_left_out(page: Browser) -> None:
    page.run("document.querySelector('#filters [data-state=failed]').click()")
    assert count(page, "#leaderboard tbody tr") == len(STATES) - 1
    page.run("document.querySelector('#filters [data-state=failed]').click()")
    assert count(page, "#leaderboard tbody tr") == len(STATES)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_every_width_and_theme(page: Browser, served: Served, width: int, dark: bool) -> None:
    """Nothing is wider than the window, and text stands out from its ground (WCAG AA, 4.5)."""
    page.size(width, 900, dark)
    page.get(f"{served.url}?{width}{dark}#trial-1")
    page.wait("return document.querySelectorAll('#weights path.curve').length == 2")
    assert page.run("return document.documentElement.scrollWidth") == width
    places = ["#question", ".facts dt", "#leaderboard .tries", ".chip.stopped", ".chip.failed"]
    places += [".chip.waiting", ".chip.running", "#leaderboard .pick", ".legend", "h2", "th"]
    for place in places:
        assert page.run(CONTRAST, place) >= 4.5, place
    assert page.console() == []


CONTRAST = """
const element = document.querySelector(arguments[0]);
const light = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
let ground = element;
while (/, 0\\)$/.test(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
const pair = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(light);
return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
"""
