"""A trial on two GPUs of one node, really trained, loses one of its two processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

import hpcm
from hpcm.training.local_processes import __name__ as FOLLOWER
from tests.drills.nodes import Nodes
from tests.drills.search import ROOT, Search

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(280)]

SETTINGS = (
    *("resources.gpu=2", "budget.trials=1", "budget.concurrent=1"),
    *("fidelity.min=2", "fidelity.max=4", "objective.metric=val_rd_cost"),
    *("base.data.crops_per_epoch=16",),
)


@pytest.fixture
def two_gpus() -> Iterator[Nodes]:
    """A head, and a worker node that has both GPUs, in Ray's books."""
    nodes = Nodes()
    try:
        nodes.start_head()
        nodes.add_worker(gpus=2)
        yield nodes
    finally:
        nodes.stop()


def test_a_trial_on_two_gpus_fails_as_one_and_goes_on(
    two_gpus: Nodes, search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    """And its curve is that of one process."""
    found = search(None)
    command = [sys.executable, str(ROOT / "tune.py"), "--space", "phase3", "--profile", "laptop"]
    command += ["--address", two_gpus.address, "--storage", str(found.storage)]
    found.launch([*command, "--set", *SETTINGS], found.folder)
    found.wait_for_epochs(2)
    (follower,) = followers()
    follower.kill()
    assert found.finish(200) == 0
    (trial,) = found.trials()
    assert trial.state == "finished"
    (retried,) = [event for event in found.events() if event["event"] == "retried"]
    assert "process 1 of this run broke: it ended with exit code -9" in retried["reason"]
    assert followers() == []
    reports = hpcm.train(found.space().config(trial.params))
    alone = {report.epoch: report.metrics["val_rd_cost"] for report in reports}
    assert trial.curve("val_rd_cost") == pytest.approx(alone, rel=1e-3)
    lost("no epoch that was saved")


def followers() -> list[psutil.Process]:
    """The processes that follow a trial's own, on this machine."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if FOLLOWER in (process.info["cmdline"] or [])
    ]
