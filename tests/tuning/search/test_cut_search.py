"""A search that is cut five times ends as one that was not: the same trials, the same decisions.

That a driver may die before any one line is tried in `tests/drills/test_every_line.py`; here it
dies again and again, leaves half a line each time, and its searcher learns from what it has.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.drills.play import Play, play_content
from tuning.ledger.ledger import LEDGER_FILE, Ledger

CUTS = 5
SCHEDULERS: dict[str, dict[str, Any]] = {"asha": {}, "promote": {"control": 0.2, "seed": 2}}


def made(folder: Path, name: str) -> Play:
    folder.mkdir()
    content = play_content(name, 9, **SCHEDULERS[name])
    content["searcher"] = {"name": "tpe", "seed": 1, "startup_trials": 3}
    return Play(folder, content)


def facts(play: Play) -> list[tuple[Any, ...]]:
    """What a search has found."""
    return [
        (t.number, t.params, t.state, t.reports, t.rung_stopped_at, t.reason, t.retries)
        for t in play.trials()
    ]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_five_cuts_change_nothing(name: str, seed: int, tmp_path: Path) -> None:
    straight = made(tmp_path / "straight", name)
    assert straight.session()
    lines = len(straight.events())
    cut, rng = made(tmp_path / "cut", name), np.random.default_rng(seed)
    ledger = cut.directory / LEDGER_FILE
    for _ in range(CUTS):
        assert not cut.session(die_before=int(rng.integers(3, lines // (CUTS + 1))))
        whole = ledger.read_bytes().splitlines()
        with ledger.open("ab") as file:  # of the line that it was about to write
            file.write(whole[-1][: int(rng.integers(len(whole[-1])))])
    assert cut.session()
    assert facts(cut) == facts(straight)
    assert Ledger(cut.directory).rungs == Ledger(straight.directory).rungs
    once = Counter(
        (event["event"], event["trial"], event.get("epoch"))
        for event in cut.events()
        if event["event"] in ("proposed", "decision", "promoted", "finished", "stopped")
    )
    assert set(once.values()) == {1}
    assert sum(event["event"] == "opened" for event in cut.events()) == CUTS + 1
