"""The page's endpoints on an experiment made by hand, through aiohttp's own client."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from tests.tuning.served import ATTACK, SECRET, STATES, score, write_served
from tuning.__main__ import main
from tuning.ledger import LEDGER_FILE, Ledger
from tuning.serve import HEADERS, WEB, application, is_known
from tuning.storage import driving
from tuning.trial_logs import TAIL

Answer = tuple[int, Mapping[str, str], bytes]  # status, headers by any case, body


Made = tuple[Path, Ledger]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Made]]:
    """``make(attack="")``: the experiment, without a driver."""
    ledgers: list[Ledger] = []

    def write(attack: str = "") -> Made:
        directory, ledger = write_served(tmp_path, attack)
        ledgers.append(ledger)
        return directory, ledger

    yield write
    for ledger in ledgers:
        ledger.close()


@pytest.fixture
def experiment(make: Callable[..., Made]) -> Iterator[Made]:
    """A search that is under way: this process is its driver."""
    directory, ledger = make()
    with driving(directory):
        yield directory, ledger


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
    assert found["hours"]["saved"] == pytest.approx(8 * 10 / 3600)


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
    ledger.append("promoted", 4, epoch=1, rank=1, peers=6)
    entries = data(directory)["rungs"][0]["entries"]
    assert next(e["fate"] for e in entries if e["trial"] == 4) == "promoted later"


def test_one_trial(experiment: Made) -> None:
    found = data(experiment[0], "/api/trials/1")
    assert found["groups"]["gamma"]["gamma"] == [[e, 0.001 / e] for e in (1, 2, 3)]
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


@pytest.mark.parametrize(
    ("closed", "word"),
    [
        (None, "killed"),
        ({"complete": True, "interrupted": False, "error": None}, "complete"),
        ({"complete": False, "interrupted": True, "error": None}, "interrupted"),
        ({"complete": False, "interrupted": False, "error": "no space left"}, "broke off"),
    ],
)
def test_a_search_that_ended(make: Any, closed: dict[str, Any] | None, word: str) -> None:
    directory, ledger = make()
    if closed is not None:
        ledger.close(**closed)
    found = data(directory)
    assert found["state"] == word
    assert found["trials"][1]["state"] == "pending"  # nothing runs without a driver


def test_before_the_first_trial(make: Any) -> None:
    directory, _ = make()
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
    path = directory / LEDGER_FILE
    line = json.dumps({"event": "finished", "time": 2e9, "trial": 1}).encode() + b"\n"

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

    _, (status, _, body) = ask(directory, "/api/experiment", "/api/experiment", between=damage)
    assert status == 503
    assert "is damaged" in json.loads(body)["error"]


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


def test_no_log_from_anywhere_else(experiment: Made, tmp_path: Path) -> None:
    directory, _ = experiment
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "stderr").write_text("private")
    (directory / "quick-0002").symlink_to(elsewhere)
    (directory / "quick-0001").mkdir()
    (directory / "quick-0001" / "stdout").symlink_to(elsewhere / "stderr")
    os.mkfifo(directory / "quick-0001" / "stderr")
    for number in (1, 2, 4):
        assert data(directory, f"/api/trials/{number}/log") == {"files": []}


@pytest.mark.parametrize(
    "path",
    [
        "/api/trials/77",
        "/api/trials/77/log",
        "/api/trials/-1/log",
        "/api/trials/x/log",
        "/api/trials/..%2f..%2f/log",
        "/..%2fserve.py",
        "/page.html",
        "/web/page.js",
        "/experiment.json",
    ],
)
def test_nothing_else_is_there(experiment: Made, path: str) -> None:
    ((status, _, _),) = ask(experiment[0], path)
    assert status == 404


# --- who may ask, and what the browser may do ----------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_reading(experiment: Made, method: str) -> None:
    ((status, _, _),) = ask(experiment[0], ("/api/experiment", method))
    assert status == 405


def test_every_answer_has_the_headers(experiment: Made) -> None:
    evil = ("/", "GET", "Host", "evil.example")
    for status, headers, _ in ask(experiment[0], "/", "/page.js", "/no", ("/", "POST"), evil):
        assert {name: headers.get(name) for name in HEADERS} == HEADERS, status
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8270", True),
        ("[::1]:8270", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("10.0.0.7:8270", True),
        ("node7:8270", True),
        ("evil.example:8270", False),
        ("", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("node7@evil", False),
        ("a b", False),
        ("node7:x", False),
    ],
)
def test_names_that_this_machine_has(host: str, known: bool) -> None:
    assert is_known(host, frozenset({"localhost", "node7"})) is known


def test_a_foreign_name_reads_nothing(experiment: Made) -> None:
    ((status, _, body),) = ask(experiment[0], ("/api/experiment", "GET", "Host", "evil.example"))
    assert (status, b"quick" in body) == (403, False)


def test_attacks_stay_text(make: Any) -> None:
    directory, _ = make(ATTACK)
    found = data(directory)
    assert ATTACK in found["question"]
    assert ATTACK in found["trials"][3]["reason"]
    _, headers, body = ask(directory, "/")[0]
    assert headers["Content-Type"].startswith("text/html")
    assert b"owned" not in body  # the page itself holds nothing of the experiment


def test_the_page_makes_no_markup_and_loads_nothing_from_elsewhere() -> None:
    code = {path.name: path.read_text() for path in WEB.iterdir()}
    assert sorted(code) == ["charts.js", "icon.svg", "page.css", "page.html", "page.js"]
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|srcdoc"
    for name, text in code.items():
        assert not re.search(sinks, text), name
        assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}, name
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", code["page.html"])


# --- the command ---------------------------------------------------------------------------------


def serve(storage: Path, *words: str) -> int:
    return main(["serve", "quick-x", "--storage", str(storage), "--port", "0", *words])


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_command(
    experiment: Made,
    host: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    heard: list[int] = []

    def say(text: str) -> None:
        told.append(text)
        if found := re.search(r"http://[^:]+:(\d+)/", text):
            threading.Thread(target=visit, args=(found[1],)).start()

    def visit(port: str) -> None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as reply:
                heard.append(reply.status)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("tuning.serve.print", say, raising=False)
    assert serve(experiment[0].parent, "--host", host) == 0
    assert heard == [200]
    assert told[-1].startswith("quick-x: http://")
    assert any("no authentication" in line for line in told) is (host == "0.0.0.0")


def test_a_port_that_is_taken(experiment: Made, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert serve(experiment[0].parent, "--port", port) == 2
    assert f"cannot listen on --host 127.0.0.1 --port {port}" in capsys.readouterr().err


def test_no_such_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(tmp_path) == 2
    assert capsys.readouterr().err.startswith("quick-x: no such experiment in")
