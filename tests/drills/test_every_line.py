"""The driver dies before every line of its ledger, one line after the other; no Ray."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.drills.play import Play, play_content
from tests.drills.twin import follow, story

SCHEDULERS = {"asha": {}, "promote": {"control": 0.2, "seed": 2}}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("pilots", [0, 3])
def test_a_driver_that_dies_before_any_line_decides_the_same(
    name: str, pilots: int, tmp_path: Path
) -> None:
    """The twin knows no pilots; with them the search that was not killed is what is compared."""
    content = play_content(name, 7, **SCHEDULERS[name], pilots=pilots)
    straight = Play(made(tmp_path / "straight"), content)
    assert straight.session()
    if not pilots:
        follow(straight.events(), straight.space)
    lines = len(straight.events())
    assert lines > 40
    for line in range(1, lines + 1):
        play = Play(made(tmp_path / str(line)), content)
        assert not play.session(die_before=line)
        assert play.session()
        assert story(play.events()) == story(straight.events()), f"killed before line {line}"
        assert [t.reports for t in play.trials()] == [t.reports for t in straight.trials()]
        if not pilots:
            follow(play.events(), play.space)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("step", [3, 5, 11])
def test_one_that_dies_again_and_again(name: str, step: int, tmp_path: Path) -> None:
    """Two trials at a time: who reports first may change, a wrong decision may not."""
    content = play_content(name, 9, **SCHEDULERS[name])
    content["budget"]["concurrent"] = 2
    play = Play(made(tmp_path / "killed"), content)
    sessions, line = 0, step
    while not play.session(die_before=line):
        sessions += 1
        line += 1
        assert sessions < 200
    assert sessions > 2
    follow(play.events(), play.space)
    assert len(play.trials()) == 9


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_twin_sees_every_kind_of_wrong_decision(name: str, tmp_path: Path) -> None:
    play = Play(tmp_path, play_content(name, 9))
    assert play.session()
    events = play.events()
    follow(events, play.space)
    caught = 0
    for place, event in enumerate(events):
        for changed in wrong(events, place, event):
            with pytest.raises(AssertionError):
                follow(changed, play.space)
            caught += 1
    assert caught > 15


def wrong(events: list[dict[str, Any]], place: int, event: dict[str, Any]) -> list[Any]:
    """Ledgers in which this line is wrong, as a faulty scheduler would have it."""
    before, after = events[:place], events[place + 1 :]
    match event["event"]:
        case "decision":
            late = copy.deepcopy(event) | {"score": event["score"] - 0.5}  # as Ray back-fills
            turned = copy.deepcopy(event) | {"keeps": not event["keeps"]}
            poor = copy.deepcopy(event) | {"rank": event["rank"] + 1}
            return [[*before, one, *after] for one in (late, turned, poor)] + [before + after]
        case "promoted":
            return [before + after]
        case "stopped" | "finished":
            return [before + after, [*before, event, event, *after]]
    return []


def made(folder: Path) -> Path:
    """``folder``, made."""
    folder.mkdir()
    return folder
