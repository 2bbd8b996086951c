"""What the search tells Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.lr_space import kill, lr_space, open_ledger, report
from tuning.ledger.events import (
    Failed,
    Paused,
    Proposed,
    Report,
    Retried,
    RungDecision,
    Started,
    Stopped,
)
from tuning.ledger.failures import KINDS
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.on_ray import metrics
from tuning.on_ray.metrics import (
    FAILURE_CLASSES,
    METRICS,
    MOST_TRIALS,
    SearchMetrics,
    failure_class,
)

BALANCER = {"weights/distortion": 0.7, "weights/rate_s1": 0.3, "gamma/s1": 1e-3}
Received = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Series:
    """Stands for Ray's gauges and counters; ``received`` has the values since it was cleared."""

    received: Received = {}

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.tag_keys = name, set(tag_keys)
        assert description

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == self.tag_keys
        self.received[self.name, frozenset(tags.items())] = value

    def inc(self, value: float, tags: dict[str, str]) -> None:
        key = self.name, frozenset(tags.items())
        self.received[key] = self.received.get(key, 0.0) + value


@pytest.fixture(autouse=True)
def received(monkeypatch: pytest.MonkeyPatch) -> Received:
    """The values that the series receive from here on."""
    monkeypatch.setattr(metrics, "Gauge", Series)
    monkeypatch.setattr(metrics, "Counter", Series)
    Series.received.clear()
    return Series.received


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Open for writing, in ``rates-x``."""
    made = open_ledger(tmp_path)
    yield made
    kill(made)


def search(ledger: Ledger, tmp_path: Path, **sections: Any) -> SearchMetrics:
    return SearchMetrics(ledger, lr_space(tmp_path, **sections), slots=2)


def propose(ledger: Ledger, number: int, *scores: float, **more: float) -> None:
    """A running trial with these scores from epoch 1 on."""
    ledger.append(Proposed(number, params={"optimizer.lr": 1e-4}, source="tpe"))
    ledger.append(Started(number, ray_id=f"r{number}"))
    for epoch, score in enumerate(scores, start=1):
        whole = report(epoch, score, **{"val_bpp": 0.5, "val_psnr": 30.0, "train/seconds": 2.0})
        ledger.append(Report(number, metrics=whole | BALANCER | more))


def a_search_in_every_state(ledger: Ledger) -> None:
    for number, scores in enumerate([(9, 8, 7, 6), (4, 3, 2), (7,), (8,), (9,), (), (6, 5)]):
        propose(ledger, number, *map(float, scores))
    ledger.append(Stopped(2, rung=1, reason="rank 3 of 3"))
    ledger.append(Paused(3, reason="rank 2 of 3"))
    ledger.append(Failed(4, reason="diverged: loss is inf", diverged=True))
    ledger.append(Retried(5, reason="RuntimeError: a cosmic ray"))
    ledger.append(Failed(6, reason="refused: no such set"))
    propose(ledger, 8)
    facts = {"kind": "device_memory", "node": "n1"}
    ledger.append(Failed(8, reason="it does not fit into a whole GPU", **facts))
    ledger.append(Proposed(7, params={"optimizer.lr": 1e-4}, source="confirm", of=0, seed=1))
    ledger.append(Started(7, ray_id="r7"))
    ledger.append(Report(7, metrics=report(1, 3.0, **{"train/seconds": 2.0})))


def of(received: Received, name: str, **tags: str) -> float:
    return received[name, frozenset({"experiment": "rates-x", **tags}.items())]


def test_a_search_in_every_state(ledger: Ledger, tmp_path: Path, received: Received) -> None:
    exported = search(ledger, tmp_path)
    a_search_in_every_state(ledger)
    exported.tell(age=3.0)
    states = {state: of(received, "hpcm_trials", state=state) for state in metrics.STATES}
    expected = {"running": 2, "waiting": 1, "pending": 1, "finished": 0, "stopped": 1, "failed": 3}
    assert states == expected
    assert of(received, "hpcm_trials_budget") == 8
    assert of(received, "hpcm_slots") == 3  # two at the start; a node has joined
    assert of(received, "hpcm_best_objective") == 2.0  # trial 1: the prior alone went further
    assert of(received, "hpcm_prior_objective") == 7.0  # at the same epoch
    assert of(received, "hpcm_confirm_runs", state="running") == 1
    assert of(received, "hpcm_trial_objective", trial="rates-0007") == 3.0
    assert of(received, "hpcm_hours", device="cpu") == pytest.approx(13 * 2.0 / 3600)
    fates = {fate: of(received, "hpcm_rung_trials", epoch="1", fate=fate) for fate in
             ("reached", "waiting", "stopped")}  # fmt: skip
    assert fates == {"reached": 6, "waiting": 1, "stopped": 1}
    assert of(received, "hpcm_rung_trials", epoch="3", fate="reached") == 2
    assert of(received, "hpcm_failures", **{"class": "diverged"}) == 1
    assert of(received, "hpcm_failures", **{"class": "refused"}) == 1
    assert of(received, "hpcm_failures", **{"class": "device_memory"}) == 1
    assert of(received, "hpcm_failures", **{"class": "exception"}) == 0
    assert of(received, "hpcm_report_age_seconds") == 3.0
    assert of(received, "hpcm_epochs") == 13
    assert of(received, "hpcm_restarts") == 1
    assert of(received, "hpcm_trial_objective", trial="rates-0001") == 2.0
    assert of(received, "hpcm_trial_epoch", trial="rates-0000") == 4
    assert of(received, "hpcm_trial_epoch_seconds", trial="rates-0000") == 2.0
    assert of(received, "hpcm_trial_task_weight", trial="rates-0000", task="rate_s1") == 0.3
    assert of(received, "hpcm_trial_gamma", trial="rates-0000", scale="s1") == 1e-3
    # Nothing is declared and never received; a tau needs more trials than there are here.
    assert {name for name, _ in received} == set(METRICS) - {"hpcm_rung_tau"}


def test_a_tau_is_told_once_it_is_known(tmp_path: Path, ledger: Ledger, received: Received) -> None:
    """Eight trials at a rung of epoch 1; all losers but the last went on, in the same order."""
    exported = search(ledger, tmp_path, scheduler={"name": "promote", "pilots": 0, "control": 0.5})
    for number in range(8):
        propose(ledger, number, float(number))
        facts = {"score": float(number), "rank": number + 1, "peers": 8}
        ledger.append(RungDecision(number, 1, keeps=number < 7, control=2 <= number < 7, **facts))
    exported.tell(age=0.0)
    assert of(received, "hpcm_rung_losers", epoch="1", to="3") == 0
    for number in range(7):
        ledger.append(Report(number, metrics=report(3, float(number))))
        facts = {"score": float(number), "rank": number + 1, "peers": number + 1}
        ledger.append(RungDecision(number, 3, keeps=False, **facts))
    exported.tell(age=0.0)
    assert of(received, "hpcm_rung_losers", epoch="1", to="3") == 5
    assert of(received, "hpcm_rung_tau", epoch="1", to="3") == pytest.approx(1.0)
    taus = [dict(tags) for name, tags in received if name == "hpcm_rung_tau"]
    assert taus == [{"experiment": "rates-x", "epoch": "1", "to": "3"}]


def test_an_ended_trial_is_told_no_more(ledger: Ledger, tmp_path: Path, received: Received) -> None:
    """Ray drops a gauge that is not set again."""
    exported = search(ledger, tmp_path)
    propose(ledger, 0, 3.0)
    propose(ledger, 1, 2.0)
    ledger.append(Stopped(0, rung=1, reason="rank 2 of 2"))
    exported.tell(age=0.0)
    trials = {tags["trial"] for _, tags in map(_tags, received) if "trial" in tags}
    assert trials == {"rates-0001"}


def _tags(key: tuple[str, frozenset[tuple[str, str]]]) -> tuple[str, dict[str, str]]:
    return key[0], dict(key[1])


@pytest.mark.parametrize("ended", [20, 2000])
def test_the_series_do_not_grow_with_the_search(
    ledger: Ledger, tmp_path: Path, received: Received, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.ledger.ledger.os.fsync", lambda handle: None)
    exported = search(ledger, tmp_path)
    for number in range(ended):
        propose(ledger, number, 3.0 + number)
        ledger.append(Failed(number, reason=f"RuntimeError: number {number}"))
    propose(ledger, ended, 2.0)
    exported.tell(age=0.0)
    assert len(received) == 22 + len(FAILURE_CLASSES) + 8  # of the search and of the running trial
    assert of(received, "hpcm_failures", **{"class": "exception"}) == ended


def test_running_trials_are_bounded(
    ledger: Ledger, tmp_path: Path, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.ledger.ledger.os.fsync", lambda handle: None)
    exported = search(ledger, tmp_path)
    for number in range(MOST_TRIALS + 50):
        propose(ledger, number, 3.0)
    exported.tell(age=0.0)
    assert sum(name == "hpcm_trial_epoch" for name, _ in received) == MOST_TRIALS


def test_what_is_not_finite_is_left_out(ledger: Ledger, tmp_path: Path, received: Received) -> None:
    exported = search(ledger, tmp_path)
    propose(ledger, 0, float("nan"), **{"val_psnr": float("-inf")})
    exported.tell(age=0.0)
    names = {name for name, _ in received}
    assert "hpcm_trial_epoch" in names
    assert not names & {"hpcm_trial_objective", "hpcm_trial_psnr", "hpcm_best_objective"}


def test_counters_count_this_session_once(
    ledger: Ledger, tmp_path: Path, received: Received
) -> None:
    propose(ledger, 0, 3.0, 2.0)  # before this driver
    exported = search(ledger, tmp_path)
    propose(ledger, 1, 3.0)
    exported.tell(age=0.0)
    exported.tell(age=0.0)
    assert of(received, "hpcm_epochs") == 1


def test_it_is_told_every_few_seconds(
    ledger: Ledger, tmp_path: Path, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: clock[0])
    exported = search(ledger, tmp_path)
    for seconds, said in ((0.0, True), (1.0, False), (metrics.EVERY, True), (1.0, False)):
        clock[0] += seconds
        received.clear()
        exported.on_step_end(0, [])
        assert bool(received) is said
    clock[0] += 60
    exported.on_step_end(0, [])
    assert of(received, "hpcm_report_age_seconds") == pytest.approx(65, abs=1)
    propose(ledger, 0, 3.0)
    clock[0] += 60
    exported.on_step_end(0, [])
    assert of(received, "hpcm_report_age_seconds") == 0


@pytest.mark.parametrize(
    ("reason", "facts", "kind"),
    [
        ("diverged: loss is inf", {"diverged": True}, "diverged"),
        ("refused: no such set", {}, "refused"),
        *(("words of somebody else's", {"kind": kind}, kind) for kind in KINDS),
        ("refused: by the server", {"kind": "exception"}, "exception"),
        ("hung up by the server", {"kind": "exception"}, "exception"),
        ("hung, but nobody said so", {}, "exception"),
        ("of a later version", {"kind": "bored"}, "exception"),
        (None, {}, "exception"),
    ],
)
def test_classes_of_failures(reason: str | None, facts: dict[str, Any], kind: str) -> None:
    trial = TrialRecord("x-1", 1, {}, state="failed", reason=reason, **facts)
    assert failure_class(trial) == kind
    assert kind in FAILURE_CLASSES
