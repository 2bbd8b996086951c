"""``python -m tuning serve``: a web page of an experiment, live while it runs and after it ended.

It reads the experiment's folder and nothing else: no Ray, no lock, no write. Only GET is answered,
only under a name that this machine is meant to have (a page elsewhere could else reach it by a name
of its own that resolves to here), and the page may load nothing from anywhere else.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import ipaddress
import json
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from hpcm.schema import ConfigError
from hpcm.streams import printable
from tuning.ledger import folders
from tuning.ledger.ledger import LEDGER_FILE
from tuning.page.analysis import analysis_data
from tuning.page.data import experiment_data, plain, status, trial_data
from tuning.page.live_ledger import LiveLedger
from tuning.page.pictures import kept_pictures
from tuning.page.report import SCRIPTS, STYLES, WEB
from tuning.page.trial_logs import log_tails
from tuning.results.outcome import ExperimentResult
from tuning.results.tables import read_result

FILES = {  # address, file, type
    "/": ("page.html", "text/html"),
    **{f"/{name}": (name, "text/css") for name in STYLES},
    **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in SCRIPTS},
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Server": "hpcm-tune",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Page:
    """The answers about one experiment; each is made anew when its ledger has grown."""

    def __init__(self, directory: Path) -> None:
        """Raise :class:`ConfigError` if the experiment cannot be read."""
        self.directory = directory
        self._lock = asyncio.Lock()
        self._known: tuple[tuple[int, str, str], Any] | None = None
        self._analysis_lock = asyncio.Lock()
        #: Bytes of the ledger, what it comes to, and its analysis.
        self._analysed: tuple[int, ExperimentResult, Any] | None = None
        self._read()

    async def experiment(self, request: web.Request) -> web.StreamResponse:
        """The page's data, or 304 if the browser has it."""
        return await self._answer(request, self._experiment)

    async def analysis(self, request: web.Request) -> web.StreamResponse:
        """The answer and what it rests on: seconds of work, for which no other answer waits."""
        return await self._analysed_answer(request, lambda: self._analysis()[1])

    async def pictures(self, request: web.Request) -> web.StreamResponse:
        """The pictures that a report has made, or how they are made."""
        return await self._analysed_answer(
            request, lambda: plain(kept_pictures(self._analysis()[0]))
        )

    async def _analysed_answer(
        self, request: web.Request, make: Callable[[], Any]
    ) -> web.StreamResponse:
        async with self._analysis_lock:
            try:
                data = await asyncio.to_thread(make)
            except (ConfigError, OSError) as error:
                return web.json_response({"error": plain(str(error))}, status=503)
        return answer(request, data)

    async def trial(self, request: web.Request) -> web.StreamResponse:
        """The details of one trial."""
        number = self._number(request)
        return await self._answer(
            request, lambda: plain(trial_data(self.ledger, self.space, number))
        )

    async def log(self, request: web.Request) -> web.StreamResponse:
        """The end of what the trial's processes wrote."""
        folder = f"{self.space.name}-{self._number(request):04d}"
        tails = await asyncio.to_thread(log_tails, self.directory, folder)
        files = [{"name": tail.name, "text": tail.text, "cut": tail.cut} for tail in tails]
        return answer(request, {"files": files})

    def _number(self, request: web.Request) -> int:
        number = int(request.match_info["number"])
        if number not in self.ledger.trials:
            raise web.HTTPNotFound(text=f"no trial {number}")
        return number

    async def _answer(self, request: web.Request, make: Callable[[], Any]) -> web.StreamResponse:
        def fresh() -> Any:
            self._refresh()
            return make()

        async with self._lock:  # one reader of the ledger at a time
            try:
                data = await asyncio.to_thread(fresh)
            except (ConfigError, OSError) as error:
                return web.json_response({"error": plain(str(error))}, status=503)
        return answer(request, data)

    def _experiment(self) -> Any:
        """The last answer, if no line and no driver came or went: saves 1 s at 2,000 trials."""
        state = (self.ledger.count, *status(self.ledger, self.space))
        if self._known is None or self._known[0] != state:
            self._known = state, plain(experiment_data(self.ledger, self.space))
        return self._known[1]

    def _analysis(self) -> tuple[ExperimentResult, Any]:
        """The last one again if nothing was written since; with a ledger of its own."""
        path = self.directory / LEDGER_FILE
        size = path.stat().st_size if path.exists() else 0
        if self._analysed is None or self._analysed[0] != size:
            result = read_result(self.directory.name, str(self.directory.parent))
            space = result.info.space
            ledger = LiveLedger(self.directory, devices=space.resources.devices)
            self._analysed = size, result, plain(analysis_data(ledger, space, result))
        return self._analysed[1:]

    def _read(self) -> None:
        self.space = folders.read_experiment(self.directory)
        self.ledger = LiveLedger(self.directory, devices=self.space.resources.devices)
        self._sessions = self.ledger.sessions

    def _refresh(self) -> None:
        self.ledger.read_on()
        if self.ledger.sessions != self._sessions:  # resumed, perhaps with another budget
            self._read()


def application(directory: Path, names: frozenset[str] = frozenset()) -> web.Application:
    """The page of the experiment in ``directory``; ``names`` besides localhost."""
    page = Page(directory)
    app = web.Application(middlewares=[_guard(frozenset({"localhost", *names}))])
    app.on_response_prepare.append(_add_headers)
    for address, (name, kind) in FILES.items():
        app.router.add_get(address, _file((WEB / name).read_bytes(), kind))
    app.router.add_get("/api/experiment", page.experiment)
    app.router.add_get("/api/analysis", page.analysis)
    app.router.add_get("/api/pictures", page.pictures)
    app.router.add_get(r"/api/trials/{number:\d{1,9}}", page.trial)
    app.router.add_get(r"/api/trials/{number:\d{1,9}}/log", page.log)
    return app


def answer(request: web.Request, data: Any) -> web.StreamResponse:
    """``data`` as compressed JSON with an ETag."""
    return _tagged(request, json.dumps(data, allow_nan=False).encode(), "application/json")


def _file(content: bytes, kind: str) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return _tagged(request, content, kind)

    return handle


def _tagged(request: web.Request, content: bytes, kind: str) -> web.StreamResponse:
    tag = hashlib.sha256(content).hexdigest()[:24]
    if any(known.value == tag for known in request.if_none_match or ()):
        response = web.Response(status=304)
    else:
        response = web.Response(body=content, content_type=kind, charset="utf-8")
        response.enable_compression()
    response.headers["ETag"] = f'W/"{tag}"'
    return response


def _guard(names: frozenset[str]) -> Any:
    """Refuse other methods than GET and HEAD, and names that are not this machine's."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD"])
        if not is_known(request.headers.get("Host", ""), names):
            raise web.HTTPForbidden(text="this name is not served here; see --host")
        return await handler(request)

    return guard


def is_known(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header is an address, which no foreign name can become, or in ``names``."""
    try:
        name = URL.build(scheme="http", authority=host).host or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.lower() in names
    return True


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def serve(flags: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM. Raises :class:`ConfigError` for what a user can mend."""
    folder = Path(flags.storage).expanduser().absolute()
    directory = folders.find(folder, flags.experiment)
    kind = folders.read_experiment(directory).kind
    open_to_others = not _is_loopback(flags.host)
    names = {flags.host.lower(), socket.gethostname().lower()} if open_to_others else set()
    app = application(directory, frozenset(names))

    def started(port: int) -> None:
        if open_to_others:
            print(
                f"WARNING: {flags.host} can be reached from other machines and there is no"
                " authentication: whoever gets to this port reads the experiment and its logs."
            )
        host = f"[{flags.host}]" if ":" in flags.host else flags.host
        print(
            f"{kind} {printable(directory.name)}: http://{host}:{port}/"
            "  (Ctrl-C ends the page, not the search)"
        )
        sys.stdout.flush()

    asyncio.run(_listen(app, flags.host, flags.port, started))


async def _listen(
    app: web.Application, host: str, port: int, started: Callable[[int], None]
) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    logging.getLogger("aiohttp.server").addFilter(_is_ours)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        started(runner.addresses[0][1])
        await ended.wait()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"serve: cannot listen on --host {host} --port {port}: {why}; --port 0 takes any that"
            " is free"
        ) from None
    finally:
        await runner.cleanup()


def _is_ours(record: logging.LogRecord) -> bool:
    """Our own mistakes are told in the terminal; what a client sends that is no HTTP is not."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
