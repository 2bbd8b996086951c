"""A headless Chromium by the W3C WebDriver protocol: what the tests of the page need of it."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
    *("--disable-quic", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run", "--disable-dev-shm-usage", "--force-color-profile=srgb"),
]
TIMEOUT = 60.0  # seconds for one request; a start on a busy machine takes several


class Browser:
    """One window. Raises :class:`RuntimeError` with WebDriver's own words."""

    def __init__(self, driver: str, flags: list[str]) -> None:
        self._driver = driver
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, *flags]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = _post(f"{driver}/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"{driver}/session/{made['sessionId']}"

    def get(self, url: str) -> None:
        """Open an address and wait for its load event."""
        self.post("/url", {"url": url})

    def run(self, script: str, *given: Any) -> Any:
        """What ``return ...`` in ``script`` gives; ``arguments`` holds ``given``."""
        return self.post("/execute/sync", {"script": script, "args": list(given)})

    def wait(self, script: str, seconds: float = 30.0) -> Any:
        """The first true value of ``script``. Raises :class:`TimeoutError`."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := self.run(script):
                return found
            time.sleep(0.1)
        raise TimeoutError(f"never true: {script}; console: {self.console()}")

    def press(self, keys: str) -> None:
        """Key strokes to what has the focus."""
        strokes = [{"type": kind, "value": k} for k in keys for kind in ("keyDown", "keyUp")]
        self.post("/actions", {"actions": [{"type": "key", "id": "keys", "actions": strokes}]})

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self.post("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """The page's width and height in CSS pixels, and its colour scheme; nothing moves."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        wishes = {"color-scheme": "dark" if dark else "light", "reduced-motion": "reduce"}
        features = [{"name": f"prefers-{name}", "value": wish} for name, wish in wishes.items()]
        self.command("Emulation.setEmulatedMedia", features=features)

    def png(self) -> bytes:
        """What the window shows."""
        return base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"])

    def console(self) -> list[str]:
        """What was said on the console since the last call: errors, failed loads, refusals."""
        entries = self.post("/se/log", {"type": "browser"})
        return [f"{entry['level']} {entry['message']}" for entry in entries]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """One WebDriver command of this window."""
        return _post(f"{self._session}{path}", body)

    def close(self) -> None:
        """End the browser."""
        urllib.request.urlopen(
            urllib.request.Request(self._session, method="DELETE"), timeout=TIMEOUT
        ).close()


@contextlib.contextmanager
def browser(*flags: str) -> Iterator[Browser]:
    """A browser with an empty profile, ended with its driver when the block ends."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert driver.stdout is not None
        try:
            address = f"http://127.0.0.1:{_port(iter(driver.stdout.readline, ''))}"
            window = Browser(address, [f"--user-data-dir={profile}", *flags])
            try:
                yield window
            finally:
                window.close()
        finally:
            driver.terminate()
            driver.wait(timeout=10)
            driver.stdout.close()


def _port(lines: Iterator[str]) -> int:
    for line in lines:
        if "started successfully on port" in line:
            return int(line.rstrip(".\n").split()[-1])
    raise RuntimeError("chromedriver did not start")


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    opener: Callable[..., Any] = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    try:
        with opener(request, timeout=TIMEOUT) as reply:
            return json.load(reply)["value"]
    except urllib.error.HTTPError as error:
        with error:
            found = json.load(error)["value"]
        raise RuntimeError(f"{found['error']}: {found['message'].splitlines()[0]}") from None
