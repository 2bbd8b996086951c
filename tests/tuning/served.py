"""An experiment written by hand, for the tests of its page: a trial in every state."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from tests.tuning.searches import make_space, report
from tuning.ledger.events import (
    Failed,
    Finished,
    Paused,
    Proposed,
    Report,
    RungDecision,
    Started,
    Stopped,
)
from tuning.ledger.folders import EXPERIMENT_FILE, write_experiment
from tuning.ledger.ledger import Ledger
from tuning.page.serve import application
from tuning.spaces.space import SearchSpace

ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
SECRET = "s3cret-pass"
Made = tuple[Path, Ledger]
Answer = tuple[int, Mapping[str, str], bytes]  # status, headers by any case, body
STATES = ["finished", "running", "stopped", "failed", "waiting", "pending"]


@contextlib.contextmanager
def served(folder: Path, attack: str = "") -> Iterator[Made]:
    """The experiment, its ledger closed with the block."""
    directory, ledger = write_served(folder, attack)
    try:
        yield directory, ledger
    finally:
        ledger.close()


def ask(
    directory: Path, *requests: tuple[str, ...] | str, between: Callable[[], Any] = list
) -> Any:
    """The answers to one request after another; ``between`` is called after the first."""

    async def run() -> list[Answer]:
        answers: list[Answer] = []
        async with TestClient(TestServer(application(directory))) as client:
            for request in requests:
                path, method, *headers = (request, "GET") if isinstance(request, str) else request
                given = dict(zip(headers[::2], headers[1::2], strict=True))
                if given.get("If-None-Match") == "last":
                    given["If-None-Match"] = answers[-1][1]["ETag"]
                reply: ClientResponse = await client.request(method, path, headers=given)
                answers.append((reply.status, reply.headers, await reply.read()))
                if len(answers) == 1:
                    between()
        return answers

    return asyncio.run(run())


def data(directory: Path, path: str = "/api/experiment") -> Any:
    """The JSON of an answer; a NaN in it is an error."""
    ((status, _, body),) = ask(directory, path)
    assert status == 200, body
    return json.loads(body, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def write_served(folder: Path, attack: str = "") -> Made:
    """The experiment's folder, and its ledger open for writing; ``attack`` goes into its texts."""
    space = make_space(folder)
    directory = folder / "storage" / "quick-x"
    write_experiment(directory, space)
    if attack:
        _attack(directory, attack)
    ledger = Ledger(directory)
    ledger.open()
    _trials(ledger, space, attack)
    logs = directory / f"{space.name}-0003"
    logs.mkdir()
    (logs / "error.txt").write_text(f"ValueError: {attack} postgresql://ann:{SECRET}@db/x\n")
    return directory, ledger


def score(ledger: Ledger, trial: int, epoch: int, value: float, **more: float) -> None:
    """One report, with what a trial says of its balancer."""
    balancer = {"weights/distortion": 0.7, "weights/rate": 0.3, "gamma/gamma": 0.001 / epoch}
    ledger.append(Report(trial, metrics=report(epoch, value) | balancer | more))


def decide(
    ledger: Ledger, trial: int, value: float, keeps: bool, rank: int = 1, **more: Any
) -> None:
    """What the scheduler said of a trial at the first rung."""
    facts = {"epoch": 1, "score": value, "rank": rank, "peers": 3, "keeps": keeps}
    ledger.append(RungDecision(trial, **facts, **more))


def _trials(ledger: Ledger, space: SearchSpace, attack: str) -> None:
    prior = space.prior()
    for number, rate in enumerate((1e-4, 2.5e-4, 9e-3, 1e-2, 3e-4, 5e-4)):
        params = prior | {"optimizer.lr": rate}
        if number == 1:
            params |= {"balancer.name": "famo", "balancer.gamma": 1e-3}
        ledger.append(Proposed(number, params=params, source="tpe" if number else "prior"))
    for number in range(5):
        ledger.append(Started(number, ray_id=f"r{number}"))
    for epoch in range(1, 10):
        score(ledger, 0, epoch, 1.5 + 1 / epoch)
        if epoch < 4:
            score(ledger, 1, epoch, 1.2 + 1 / epoch)
    decide(ledger, 0, 2.5, keeps=True, rank=2)
    decide(ledger, 1, 2.2, keeps=True)
    score(ledger, 2, 1, 4.0)
    decide(ledger, 2, 4.0, keeps=False, rank=3)
    ledger.append(Stopped(2, rung=1, reason="rank 3 of 3"))
    score(ledger, 3, 1, float("nan"), **{"val_psnr": float("-inf")})
    reason = f"val_rd_cost is nan at postgresql://ann:{SECRET}@db/x {attack}"
    ledger.append(Failed(3, reason=reason, diverged=True))
    score(ledger, 4, 1, 3.0)
    decide(ledger, 4, 3.0, keeps=False, rank=3)
    ledger.append(Paused(4, reason="rank 3 of 3 at epoch 1"))
    ledger.append(Finished(0))


def _attack(directory: Path, attack: str) -> None:
    """Put the text where the author of a space file could."""
    path = directory / EXPERIMENT_FILE
    record = json.loads(path.read_text())
    record["space"] |= {"question": f"What? {attack}", "profile": f"laptop {attack}"}
    path.write_text(json.dumps(record))
