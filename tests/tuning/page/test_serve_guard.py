"""Who may ask the page's server for what, what its page may do, and the command that starts it."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.served import ATTACK, Made, ask, data
from tuning.__main__ import main
from tuning.page.serve import FILES, HEADERS, WEB, is_known


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


OF_A_COMPARISON = {"compare.html", "compare.js"}  # which is a file and never served


def test_the_page_makes_no_markup_and_loads_nothing_from_elsewhere() -> None:
    code = {path.name: path.read_text() for path in WEB.iterdir()}
    assert set(code) == {name for name, _ in FILES.values()} | OF_A_COMPARISON
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
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It tells where the page is; a client that speaks no HTTP leaves nothing in the terminal."""
    told: list[str] = []
    heard: list[int] = []

    def say(text: str) -> None:
        told.append(text)
        if found := re.search(r"http://[^:]+:(\d+)/", text):
            threading.Thread(target=visit, args=(found[1],)).start()

    def visit(port: str) -> None:
        try:
            with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as odd:
                odd.sendall(b"GET / HTTP/1.1\r\nno header\r\n\r\n")
                assert b" 400 " in odd.recv(100)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as reply:
                heard.append(reply.status)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("tuning.page.serve.print", say, raising=False)
    assert serve(experiment[0].parent, "--host", host) == 0
    assert heard == [200]
    assert not caplog.records
    assert told[-1].startswith("search quick-x: http://")
    assert any("no authentication" in line for line in told) is (host == "0.0.0.0")


def test_a_port_that_is_taken(experiment: Made, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert serve(experiment[0].parent, "--port", port) == 2
    assert f"cannot listen on --host 127.0.0.1 --port {port}" in capsys.readouterr().err


def test_no_such_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(tmp_path) == 2
    assert capsys.readouterr().err.startswith("quick-x: no such experiment in")
