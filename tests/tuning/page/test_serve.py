"""What the page's endpoints tell of an experiment made by hand, through aiohttp's own client."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.searches import make_space
from tests.tuning.served import SECRET, STATES, Made, ask, data, decide, score
from tuning.ledger.events import Closed, Promoted, Proposed, RungDecision, Started
from tuning.ledger.folders import read_experiment, write_experiment
from tuning.ledger.ledger import LEDGER_FILE, Ledger
from tuning.ledger.lines import Chain, whole_lines
from tuning.page.curves import MOST_POINTS, thin
from tuning.page.data import experiment_data
from tuning.page.live_ledger import LiveLedger
from tuning.page.trial_logs import TAIL
from tuning.search.scheduler import Fifo
from tuning.spaces.sections import Bound, Objective

# --- what it tells -------------------------------------------------------------------------------


def test_trials_in_every_state(experiment: Made) -> None:
    found = data(experiment[0])
    trials = found["trials"]
    assert [trial["state"] for trial in trials] == STATES
    assert found["state"] == "running"
    assert (found["best"]["trial"], found["best"]["epochs"]) == (0, 9)
    assert trials[1]["curve"][-1] == [3, pytest.approx(1.2 + 1 / 3)]
    assert trials[1]["relative"] == pytest.approx(100 * ((1.2 + 1 / 3) / (1.5 + 1 / 3) - 1))
    assert trials[1]["differs"] == [
        ["lr", "0.00025"],
        ["balancer.name", "famo"],
        ["gamma", "0.001"],
    ]
    assert (trials[2]["rung"], trials[2]["reason"]) == (1, "rank 3 of 3")
    assert found["hours"]["saved"] == "1.3 CPU-minutes"


def test_the_best_trial_has_the_first_place_while_the_search_runs(tmp_path: Path) -> None:
    """Scores of early epochs may be lower than those of trials that got further."""
    space = make_space(tmp_path)
    write_experiment(tmp_path / "storage" / "quick-x", space)
    ledger = Ledger(tmp_path / "storage" / "quick-x")
    ledger.open()
    for number in range(5):
        ledger.append(Proposed(number, params=space.prior(), source="tpe" if number else "prior"))
        ledger.append(Started(number, ray_id=f"r{number}"))
    for number, values in enumerate(([1, 2, 4], [1, 2, 3], [0.5], [0.7], [])):
        for epoch, value in enumerate(values, 1):
            score(ledger, number, epoch, value)
    found = data(ledger.path.parent)
    ledger.close()
    assert found["best"]["trial"] == 1
    assert [trial["place"] for trial in found["trials"]] == [1, 0, 2, 3, None]


def test_what_is_not_a_number_is_null(experiment: Made) -> None:
    broken = data(experiment[0])["trials"][3]
    assert (broken["objective"], broken["psnr"], broken["curve"]) == (None, None, [[1, None]])
    assert data(experiment[0], "/api/trials/3")["metrics"]["val_psnr"] is None


def test_a_rung_says_who_went_on(experiment: Made) -> None:
    directory, ledger = experiment
    first = data(directory)["rungs"][0]
    fates = {entry["trial"]: entry["fate"] for entry in first["entries"]}
    assert fates == {1: "promoted", 0: "prior", 4: "waits", 2: "stopped"}
    assert [entry["trial"] for entry in first["entries"]] == [1, 0, 4, 2]  # best first
    ledger.append(Promoted(4, epoch=1, rank=1, peers=6))
    entries = data(directory)["rungs"][0]["entries"]
    assert next(e["fate"] for e in entries if e["trial"] == 4) == "promoted later"


def test_one_trial(experiment: Made) -> None:
    found = data(experiment[0], "/api/trials/1")
    assert found["groups"]["gamma"]["gamma"] == [[e, pytest.approx(0.001 / e)] for e in (1, 2, 3)]
    assert found["groups"]["weights"]["rate"] == [[e, 0.3] for e in (1, 2, 3)]
    assert found["groups"]["scale_contrib"] == {}
    assert {"path": "balancer.gamma", "value": "0.001", "prior": None} in found["parameters"]
    assert len(found["path"]) == 3
    assert [line["event"] for line in found["history"]] == ["proposed", "started", "decision"]


def test_points_on_the_axes(experiment: Made) -> None:
    found = data(experiment[0])
    assert [axis["label"] for axis in found["axes"]] == [
        "optimizer.name",
        "lr",
        "balancer.name",
        "gamma",
    ]
    assert found["axes"][0]["choices"] == ["adam", "cautious_adam"]
    assert found["trials"][0]["points"] == ["adam", 1e-4, "sum", None]  # no gamma: not active
    assert found["trials"][1]["points"] == ["adam", 2.5e-4, "famo", 1e-3]


def test_front_and_bounds(experiment: Made) -> None:
    directory, _ = experiment
    bounds = {"val_bpp": Bound(max=0.81)}
    objective = Objective(pareto=("val_bpp", "val_psnr"), constraints=bounds)
    space = replace(read_experiment(directory), objective=objective)
    found = experiment_data(LiveLedger(directory), space)
    assert (found["pareto"], found["front"]) == (["bpp", "PSNR"], [0])
    assert found["constraints"] == "val_bpp at most 0.81"
    assert [trial["feasible"] for trial in found["trials"]] == [
        True,
        True,
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("most", [8, 40, MOST_POINTS])
def test_a_long_curve_is_thinned_for_both_scales(tmp_path: Path, most: int) -> None:
    space = make_space(tmp_path)  # rungs 1, 3, 9
    kept = thin(dict.fromkeys(range(1, 3001), 0.5), space, most)
    assert {1, 3, 9, 3000} <= set(kept)
    assert kept == sorted(set(kept))
    assert 0.5 * most <= len(kept) <= most + len(space.rungs()) + 2
    early, late = sum(e <= 100 for e in kept), sum(e > 1500 for e in kept)
    assert min(early, late) >= most // 6


@pytest.mark.parametrize(
    ("closed", "word"),
    [
        (None, "killed"),
        (Closed(complete=True), "complete"),
        (Closed(interrupted=True), "interrupted"),
        (Closed(error="no space left"), "broke off"),
    ],
)
def test_a_search_that_ended(make: Any, closed: Closed | None, word: str) -> None:
    directory, ledger = make()
    if closed is not None:
        ledger.close(closed)
    found = data(directory)
    assert found["state"] == word
    assert found["trials"][1]["state"] == "pending"  # nothing runs without a driver


def test_before_the_first_trial(make: Any) -> None:
    directory, ledger = make()
    ledger.close()
    (directory / LEDGER_FILE).unlink()
    found = data(directory)
    assert (found["state"], found["trials"], found["best"]) == ("starting", [], None)


# --- live ----------------------------------------------------------------------------------------


def test_the_same_is_not_sent_twice_and_news_is(experiment: Made) -> None:
    directory, ledger = experiment
    again = ("/api/experiment", "GET", "If-None-Match", "last")
    first, same = ask(directory, "/api/experiment", again)
    assert (same[0], same[2]) == (304, b"")
    assert same[1]["ETag"] == first[1]["ETag"]
    news = ask(directory, "/api/experiment", again, between=lambda: score(ledger, 1, 4, 0.5))
    assert news[1][0] == 200
    assert json.loads(news[1][2])["trials"][1]["epochs"] == 4


def test_a_line_is_read_when_it_is_whole(experiment: Made) -> None:
    directory, ledger = experiment
    path, chain = directory / LEDGER_FILE, Chain()
    for known in whole_lines(path):
        chain.read(known)
    line = chain.written({"event": "finished", "time": 2e9, "trial": 1})

    def write(part: bytes) -> None:
        with path.open("ab") as file:
            file.write(part)

    write(line[:20])
    torn, whole = ask(
        directory, "/api/experiment", "/api/experiment", between=lambda: write(line[20:])
    )
    assert json.loads(torn[2])["trials"][1]["state"] == "running"
    assert json.loads(whole[2])["trials"][1]["state"] == "finished"


def test_a_damaged_line_is_told(experiment: Made) -> None:
    directory, _ = experiment

    def damage() -> None:
        with (directory / LEDGER_FILE).open("ab") as file:
            file.write(b"{broken\n")

    _, *answers = ask(directory, *["/api/experiment"] * 3, between=damage)
    number = len((directory / LEDGER_FILE).read_bytes().splitlines())
    for status, _, body in answers:  # for as long as it stands there
        assert status == 503
        assert f"line {number} is damaged" in json.loads(body)["error"]


def test_nothing_is_written(experiment: Made) -> None:
    directory, _ = experiment

    def stand() -> dict[str, tuple[int, float]]:
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime) for path in directory.rglob("*")
        }

    before = stand()
    ask(directory, "/", "/api/experiment", "/api/trials/3", "/api/trials/3/log")
    assert stand() == before


# --- logs ----------------------------------------------------------------------------------------


def test_a_log_without_its_secrets(experiment: Made) -> None:
    directory, _ = experiment
    answers = ask(directory, "/api/trials/3/log", "/api/experiment", "/api/trials/3")
    assert all(SECRET.encode() not in body for _, _, body in answers)
    (file,) = json.loads(answers[0][2])["files"]
    assert file == {
        "name": "error.txt",
        "text": "ValueError:  postgresql://ann:***@db/x\n",
        "cut": 0,
    }


def test_the_end_of_a_long_log(experiment: Made) -> None:
    directory, _ = experiment
    lines = [f"line {number}\n" for number in range(5000)]
    (directory / "quick-0003" / "stderr").write_text("".join(lines))
    _, tail = data(directory, "/api/trials/3/log")["files"]
    assert tail["text"].endswith("line 4999\n")
    assert tail["text"].startswith("line ")
    assert tail["cut"] + len(tail["text"]) == len("".join(lines))
    assert len(tail["text"]) <= TAIL


def test_the_log_of_the_last_start(experiment: Made) -> None:
    """Ray gives a trial that goes on within a session another folder."""
    directory, _ = experiment
    os.utime(directory / "quick-0003" / "error.txt", (100, 100))
    written = {"0003_0a1b": 200, "0003_ffff": 150, "0003_0a1b2": 300, "0003_old!": 300, "0030": 300}
    for name, time in written.items():
        (directory / f"quick-{name}").mkdir()
        for log in ("stdout", "stderr"):
            path = directory / f"quick-{name}" / log
            path.write_text("" if log == "stderr" else f"in {name}\n")
            os.utime(path, (time, time))
    os.utime(directory / "quick-0003_ffff" / "stderr", (400, 400))  # but there is nothing in it
    (directory / "quick-0003_1111").mkdir()  # the next start has said nothing yet
    (file,) = data(directory, "/api/trials/3/log")["files"]
    assert (file["name"], file["text"]) == ("stdout", "in 0003_0a1b\n")
    os.utime(directory / "quick-0003" / "error.txt", (500, 500))
    (file,) = data(directory, "/api/trials/3/log")["files"]
    assert file["name"] == "error.txt"


def test_no_log_from_anywhere_else(experiment: Made, tmp_path: Path) -> None:
    directory, _ = experiment
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "stderr").write_text("private")
    (directory / "quick-0002").symlink_to(elsewhere)
    (directory / "quick-0002_0a1b").symlink_to(elsewhere)
    (directory / "quick-0001").mkdir()
    (directory / "quick-0001" / "stdout").symlink_to(elsewhere / "stderr")
    os.mkfifo(directory / "quick-0001" / "stderr")
    for number in (1, 2, 4):
        assert data(directory, f"/api/trials/{number}/log") == {"files": []}


# --- rungs ---------------------------------------------------------------------------------------


def test_how_well_rungs_foretell_is_there_once_it_is_known(experiment: Made) -> None:
    directory, ledger = experiment
    before = data(directory)["fidelity"]
    assert (before["nothing"], before["least"], before["warnings"]) == ("", 4, [])
    assert [(p["rung"], p["to"], p["end"]) for p in before["pairs"]] == [
        (1, 3, False),
        (1, 9, True),
        (3, 9, True),
    ]
    assert [pair["tau"] for pair in before["pairs"]] == [None] * 3
    for number in range(6, 12):  # they lose at rung 1, go on by lot, and keep their order
        ledger.append(Proposed(number, params=ledger.trials[0].params, source="tpe"))
        score(ledger, number, 1, float(number))
        decide(ledger, number, float(number), keeps=True, rank=9, control=True)
        score(ledger, number, 3, float(number))
        facts = {"score": float(number), "rank": 9, "peers": 9, "keeps": False}
        ledger.append(RungDecision(number, 3, **facts))
    first = data(directory)["fidelity"]["pairs"][0]
    assert (first["trials"], first["losers"], first["tau"]) == (6, 6, pytest.approx(1.0))
    assert first["interval"] == [pytest.approx(1.0)] * 2
    assert first["tau_text"] == "1.00 [1.00, 1.00]"


def test_a_search_that_cuts_nothing_says_so(experiment: Made) -> None:
    directory, _ = experiment
    space = replace(read_experiment(directory), scheduler=Fifo())
    found = experiment_data(LiveLedger(directory), space)["fidelity"]
    assert found["nothing"].startswith("nothing is cut: every trial trains to the end")
    assert found["pairs"] == []
