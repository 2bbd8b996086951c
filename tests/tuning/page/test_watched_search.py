"""A real search while it runs: its metrics at Ray's endpoint, its names, and who could reach it."""

from __future__ import annotations

import ipaddress
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from tests.tuning.fake_training import train
from tests.tuning.lr_space import lr_space
from tuning.ledger.records import ExperimentInfo, TrialRecord
from tuning.on_ray import metrics
from tuning.on_ray.cluster import cluster
from tuning.on_ray.experiment import run_experiment
from tuning.results.outcome import ExperimentResult

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

Sample = tuple[str, dict[str, str], float]
SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG",
    "DATABASE_URL": "postgresql://ann:s3cret-pass@db/hpcm",
}


@dataclass
class Watched:
    """What was seen of a search from beside it, once two trials ran."""

    folder: Path
    info: ExperimentInfo | None = None
    result: ExperimentResult | None = None
    running: set[str] = field(default_factory=set)
    samples: list[Sample] = field(default_factory=list)
    after: list[Sample] = field(default_factory=list)  # at the end of the search
    listeners: list[tuple[str, str]] = field(default_factory=list)  # address, process
    actors: set[str] = field(default_factory=set)
    statuses: dict[str, int] = field(default_factory=dict)  # of the dashboard, by token

    def look(self, trials: Sequence[TrialRecord]) -> None:
        """Called whenever something happened; looks until the metrics have both trials."""
        running = {f"rates-{t.number:04d}" for t in trials if t.state == "running" and t.epochs}
        if len(running) < 2 or self.samples:
            return
        samples = scraped()
        if trials_of(samples) == running:
            self.running, self.samples = running, samples
            self.listeners = sorted(listening())
            self.statuses = {"": self.ask("")[0], "token": self.ask(token())[0]}
            listed = self.ask(token(), "/api/v0/actors?detail=1")[1]["data"]["result"]["result"]
            self.actors = {actor["repr_name"] for actor in listed if actor["state"] == "ALIVE"}

    def ask(self, bearer: str, path: str = "/api/jobs/") -> tuple[int, Any]:
        """What Ray's dashboard answers to this token: the HTTP status, and the JSON."""
        assert self.info is not None
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        request = urllib.request.Request(f"{self.info.dashboard_url}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, None


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A search of three trials, two at a time, each six seconds long, from beginning to end."""
    folder = tmp_path_factory.mktemp("watched")
    given = {
        "FAKE_TRAINING": str(folder),
        "FAKE_SECONDS": "0.7",
        "RAY_metrics_report_interval_ms": "1000",
    }
    seen = Watched(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "EVERY", 0.3)
        for name, value in (given | SECRETS).items():
            patch.setenv(name, value)
        patch.delenv("RAY_AUTH_MODE", raising=False)
        with cluster(None):
            seen.result = run_experiment(
                lr_space(folder, budget={"trials": 3}, scheduler={"name": "fifo"}),
                storage=str(folder / "storage"),
                on_start=lambda info: setattr(seen, "info", info),
                on_change=seen.look,
                train=train,
            )
            seen.after = scraped()
    return seen


def scraped() -> list[Sample]:
    """What the metrics port of the node says, without a token: our metrics alone."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as reply:
        families = text_string_to_metric_families(reply.read().decode())
    return [
        (sample.name, sample.labels, sample.value)
        for family in families
        for sample in family.samples
        if sample.name.startswith("ray_hpcm_")
    ]


def trials_of(samples: list[Sample]) -> set[str]:
    """Those that have series of their own."""
    return {tags["trial"] for name, tags, _ in samples if name == "ray_hpcm_trial_epoch"}


def listening() -> Iterator[tuple[str, str]]:
    """Every address on which this process or one below it listens, and which it is."""
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    yield connection.laddr.ip, process.name()
        except psutil.NoSuchProcess:  # a worker that has just ended
            continue


def is_loopback(address: str) -> bool:
    """Also as gRPC writes it, ``::ffff:127.0.0.1``."""
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def token() -> str:
    """The one that Ray made for the user of this machine; a process reads it once."""
    return (Path.home() / ".ray" / "auth_token").read_text().strip()


def test_it_was_seen(watched: Watched) -> None:
    assert watched.result is not None
    assert watched.result.error is None
    assert watched.result.complete
    assert len(watched.running) == 2


def test_metrics_at_rays_endpoint(watched: Watched) -> None:
    by_name: dict[str, list[Sample]] = {}
    for sample in watched.samples:
        by_name.setdefault(sample[0], []).append(sample)
    assert watched.info is not None
    assert {tags["experiment"] for _, tags, _ in watched.samples} == {watched.info.name}
    states = {tags["state"]: value for _, tags, value in by_name["ray_hpcm_trials"]}
    assert (states["running"], states["finished"]) == (2, 0)
    assert [value for *_, value in by_name["ray_hpcm_slots"]] == [2]
    assert {value for *_, value in by_name["ray_hpcm_trial_psnr"]} == {30.0}
    assert by_name["ray_hpcm_epochs_total"][0][2] >= 2
    ends = {"gauge": "", "counter": "_total"}
    known = {f"ray_{name}{ends[metric.kind]}" for name, metric in metrics.METRICS.items()}
    assert set(by_name) <= known


def test_a_trial_that_ended_has_no_series_any_more(watched: Watched) -> None:
    """The first two were over while the third ran for seconds."""
    assert trials_of(watched.after) <= {"rates-0002"}
    assert any(name == "ray_hpcm_trials" for name, *_ in watched.after)


def test_nothing_listens_on_the_network(watched: Watched) -> None:
    """Driver, store of the cluster's state, raylet, agents, workers, dashboard, metrics."""
    assert len(watched.listeners) > 5
    assert [one for one in watched.listeners if not is_loopback(one[0])] == []


def test_no_secret_of_the_environment_is_kept(watched: Watched) -> None:
    files = [path for path in (watched.folder / "storage").rglob("*") if path.is_file()]
    assert any(path.name == "ledger.jsonl" for path in files)
    secrets = [secret.encode() for secret in (*SECRETS.values(), token())]
    found = [str(p) for p in files for secret in secrets if secret in p.read_bytes()]
    assert found == []


def test_the_dashboard_wants_the_token(watched: Watched) -> None:
    assert watched.statuses == {"": 401, "token": 200}
    assert watched.info is not None
    assert watched.info.token_hint == "ray get-auth-token"


def test_actors_are_shown_by_the_names_of_their_trials(watched: Watched) -> None:
    """Each that is shown under a trial's id runs that trial, also where processes are reused."""
    assert watched.info is not None
    experiment = watched.info.name
    named = {name for name in watched.actors if re.fullmatch(rf"{experiment}-\d{{4}}", name)}
    assert named == {trial.replace("rates", experiment) for trial in watched.running}
