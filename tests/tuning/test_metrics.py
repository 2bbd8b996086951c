"""What the search tells Prometheus, and the dashboard that shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import grafana
from tests.tuning.lr_space import kill, lr_space, open_ledger, report
from tuning import metrics
from tuning.failures import POLICIES
from tuning.ledger import Ledger
from tuning.metrics import FAILURE_CLASSES, METRICS, MOST_TRIALS, SearchMetrics, failure_class
from tuning.records import TrialRecord

ROOT = Path(__file__).parents[2]
BALANCER = {"weights/distortion": 0.7, "weights/rate_s1": 0.3, "gamma/s1": 1e-3}
Told = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Series:
    """Stands for Ray's gauges and counters; ``told`` has what was told since it was cleared."""

    told: Told = {}

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.tag_keys = name, set(tag_keys)
        assert description

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == self.tag_keys
        self.told[self.name, frozenset(tags.items())] = value

    def inc(self, value: float, tags: dict[str, str]) -> None:
        key = self.name, frozenset(tags.items())
        self.told[key] = self.told.get(key, 0.0) + value


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What is told from here on."""
    monkeypatch.setattr(metrics, "Gauge", Series)
    monkeypatch.setattr(metrics, "Counter", Series)
    Series.told.clear()
    return Series.told


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
    ledger.append("proposed", number, params={"optimizer.lr": 1e-4}, source="tpe")
    ledger.append("started", number, ray_id=f"r{number}")
    for epoch, score in enumerate(scores, start=1):
        whole = report(epoch, score, **{"val_bpp": 0.5, "val_psnr": 30.0, "train/seconds": 2.0})
        ledger.append("report", number, metrics=whole | BALANCER | more)


def a_search_in_every_state(ledger: Ledger) -> None:
    for number, scores in enumerate([(9, 8, 7, 6), (4, 3, 2), (7,), (8,), (9,), (), (6, 5)]):
        propose(ledger, number, *map(float, scores))
    ledger.append("stopped", 2, rung=1, reason="rank 3 of 3")
    ledger.append("paused", 3, reason="rank 2 of 3")
    ledger.append("failed", 4, reason="diverged: loss is inf", diverged=True)
    ledger.append("retried", 5, reason="RuntimeError: a cosmic ray")
    ledger.append("failed", 6, reason="refused: no such set")
    ledger.append("proposed", 7, params={"optimizer.lr": 1e-4}, source="confirm", of=0, seed=1)
    ledger.append("started", 7, ray_id="r7")
    ledger.append("report", 7, metrics=report(1, 3.0, **{"train/seconds": 2.0}))


def of(told: Told, name: str, **tags: str) -> float:
    return told[name, frozenset({"experiment": "rates-x", **tags}.items())]


def test_a_search_in_every_state(ledger: Ledger, tmp_path: Path, told: Told) -> None:
    exported = search(ledger, tmp_path)
    a_search_in_every_state(ledger)
    exported.tell(age=3.0)
    states = {state: of(told, "hpcm_trials", state=state) for state in metrics.STATES}
    expected = {"running": 2, "waiting": 1, "pending": 1, "finished": 0, "stopped": 1, "failed": 2}
    assert states == expected
    assert of(told, "hpcm_trials_budget") == 8
    assert of(told, "hpcm_slots") == 3  # two at the start; a node has joined
    assert of(told, "hpcm_best_objective") == 6.0  # the prior went further than trial 1
    assert of(told, "hpcm_prior_objective") == 6.0
    assert of(told, "hpcm_confirm_runs", state="running") == 1
    assert of(told, "hpcm_trial_objective", trial="rates-0007") == 3.0
    assert of(told, "hpcm_hours", device="cpu") == pytest.approx(13 * 2.0 / 3600)
    fates = {fate: of(told, "hpcm_rung_trials", epoch="1", fate=fate) for fate in
             ("reached", "waiting", "stopped")}  # fmt: skip
    assert fates == {"reached": 6, "waiting": 1, "stopped": 1}
    assert of(told, "hpcm_rung_trials", epoch="3", fate="reached") == 2
    assert of(told, "hpcm_failures", **{"class": "diverged"}) == 1
    assert of(told, "hpcm_failures", **{"class": "refused"}) == 1
    assert of(told, "hpcm_report_age_seconds") == 3.0
    assert of(told, "hpcm_epochs") == 13
    assert of(told, "hpcm_restarts") == 1
    assert of(told, "hpcm_trial_objective", trial="rates-0001") == 2.0
    assert of(told, "hpcm_trial_epoch", trial="rates-0000") == 4
    assert of(told, "hpcm_trial_epoch_seconds", trial="rates-0000") == 2.0
    assert of(told, "hpcm_trial_task_weight", trial="rates-0000", task="rate_s1") == 0.3
    assert of(told, "hpcm_trial_gamma", trial="rates-0000", scale="s1") == 1e-3
    assert {name for name, _ in told} == set(METRICS)  # nothing is declared and never told


def test_an_ended_trial_is_told_no_more(ledger: Ledger, tmp_path: Path, told: Told) -> None:
    """Ray drops a gauge that is not set again."""
    exported = search(ledger, tmp_path)
    propose(ledger, 0, 3.0)
    propose(ledger, 1, 2.0)
    ledger.append("stopped", 0, rung=1, reason="rank 2 of 2")
    exported.tell(age=0.0)
    trials = {tags["trial"] for _, tags in map(_tags, told) if "trial" in tags}
    assert trials == {"rates-0001"}


def _tags(key: tuple[str, frozenset[tuple[str, str]]]) -> tuple[str, dict[str, str]]:
    return key[0], dict(key[1])


@pytest.mark.parametrize("ended", [20, 2000])
def test_the_series_do_not_grow_with_the_search(
    ledger: Ledger, tmp_path: Path, told: Told, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.ledger.os.fsync", lambda handle: None)
    exported = search(ledger, tmp_path)
    for number in range(ended):
        propose(ledger, number, 3.0 + number)
        ledger.append("failed", number, reason=f"RuntimeError: number {number}")
    propose(ledger, ended, 2.0)
    exported.tell(age=0.0)
    assert len(told) == 37  # 29 of the search, 8 of the running trial
    assert of(told, "hpcm_failures", **{"class": "exception"}) == ended


def test_running_trials_are_bounded(
    ledger: Ledger, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.ledger.os.fsync", lambda handle: None)
    exported = search(ledger, tmp_path)
    for number in range(MOST_TRIALS + 50):
        propose(ledger, number, 3.0)
    exported.tell(age=0.0)
    assert sum(name == "hpcm_trial_epoch" for name, _ in told) == MOST_TRIALS


def test_what_is_not_finite_is_left_out(ledger: Ledger, tmp_path: Path, told: Told) -> None:
    exported = search(ledger, tmp_path)
    propose(ledger, 0, float("nan"), **{"val_psnr": float("-inf")})
    exported.tell(age=0.0)
    names = {name for name, _ in told}
    assert "hpcm_trial_epoch" in names
    assert not names & {"hpcm_trial_objective", "hpcm_trial_psnr", "hpcm_best_objective"}


def test_counters_count_this_session_once(ledger: Ledger, tmp_path: Path, told: Told) -> None:
    propose(ledger, 0, 3.0, 2.0)  # before this driver
    exported = search(ledger, tmp_path)
    propose(ledger, 1, 3.0)
    exported.tell(age=0.0)
    exported.tell(age=0.0)
    assert of(told, "hpcm_epochs") == 1


def test_it_is_told_every_few_seconds(
    ledger: Ledger, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: clock[0])
    exported = search(ledger, tmp_path)
    for seconds, said in ((0.0, True), (1.0, False), (metrics.EVERY, True), (1.0, False)):
        clock[0] += seconds
        told.clear()
        exported.on_step_end(0, [])
        assert bool(told) is said
    clock[0] += 60
    exported.on_step_end(0, [])
    assert of(told, "hpcm_report_age_seconds") == pytest.approx(65, abs=1)
    propose(ledger, 0, 3.0)
    clock[0] += 60
    exported.on_step_end(0, [])
    assert of(told, "hpcm_report_age_seconds") == 0


@pytest.mark.parametrize(
    ("reason", "diverged", "kind"),
    [
        ("diverged: loss is inf", True, "diverged"),
        ("refused: no such set", False, "refused"),
        (POLICIES["node_lost"].told, False, "node_lost"),
        (POLICIES["hung"].told + " for 12 minutes", False, "hung"),
        ("RuntimeError: a cosmic ray", False, "exception"),
        ("the same error twice, not tried again: RuntimeError: a cosmic ray", False, "exception"),
        (None, False, "exception"),
    ],
)
def test_classes_of_failures(reason: str | None, diverged: bool, kind: str) -> None:
    trial = TrialRecord("x-1", 1, {}, state="failed", reason=reason, diverged=diverged)
    assert failure_class(trial) == kind
    assert kind in FAILURE_CLASSES


# --- the dashboard -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    """deploy/grafana_dashboard.json."""
    found = json.loads((ROOT / "deploy/grafana_dashboard.json").read_text())
    assert isinstance(found, dict)
    return found


def queries(dashboard: dict[str, Any]) -> list[str]:
    """Every PromQL expression of it."""
    panels = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    return panels + [each["query"]["query"] for each in dashboard["templating"]["list"][1:]]


def exported_names() -> set[str]:
    """As Prometheus has them: Ray puts ``ray_`` before, and ``_total`` behind a counter."""
    ends = {"gauge": "", "counter": "_total"}
    return {f"ray_{name}{ends[metric.kind]}" for name, metric in METRICS.items()}


def test_the_dashboard_is_the_one_that_its_script_makes(dashboard: dict[str, Any]) -> None:
    assert dashboard == json.loads(json.dumps(grafana.dashboard()))


def test_panels_ask_for_what_is_exported_and_for_all_of_it(dashboard: dict[str, Any]) -> None:
    asked = {name for text in queries(dashboard) for name in re.findall(r"\bray_\w+", text)}
    assert asked == exported_names()


def test_panels_ask_by_tags_that_their_metric_has(dashboard: dict[str, Any]) -> None:
    for text in queries(dashboard):
        for name, matchers in re.findall(r"ray_(\w+?)(?:_total)?\{([^}]*)\}", text):
            allowed = {"experiment", *METRICS[name].tags}
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= allowed, text
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            names = re.findall(r"ray_(\w+?)(?:_total)?\{", target["expr"])
            tags = {tag for name in names for tag in METRICS[name].tags}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= tags, target


def test_quotients_are_of_sums(dashboard: dict[str, Any]) -> None:
    """Prometheus finds no pair where one side has a tag more, and shows nothing."""
    quotients = [text.split(" / ") for text in queries(dashboard) if " / " in text]
    assert len(quotients) == 2
    assert all(side.startswith("sum(") for sides in quotients for side in sides)


def test_the_dashboard_has_grafanas_form(dashboard: dict[str, Any]) -> None:
    """What Grafana needs to import it, and panels that do not overlap in its 24 columns."""
    assert {"title", "uid", "schemaVersion", "time", "templating", "panels"} <= set(dashboard)
    assert "id" not in dashboard or dashboard["id"] is None  # Grafana gives one
    assert [v["name"] for v in dashboard["templating"]["list"]] == ["datasource", "experiment"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        box = panel["gridPos"]
        cells = {(box["x"] + i, box["y"] + j) for i in range(box["w"]) for j in range(box["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_prometheus_finds_ray_by_its_own_file() -> None:
    from ray._private import ray_constants

    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    (discovery,) = job["file_sd_configs"]
    (file,) = discovery["files"]
    assert Path(file).name == ray_constants.PROMETHEUS_SERVICE_DISCOVERY_FILE
    assert Path(file).parent == Path("/tmp/ray")


def test_every_metric_is_documented_and_nothing_else() -> None:
    page = (ROOT / "docs/watching.md").read_text()
    rows = re.findall(r"^\| `(ray_hpcm_\w+)` \|([^|]*)\|", page, re.MULTILINE)
    assert {name for name, _ in rows} == exported_names()
    for name, tags in rows:
        own = name.removeprefix("ray_").removesuffix("_total")
        assert set(re.findall(r"`(\w+)`", tags)) == set(METRICS[own].tags), name
