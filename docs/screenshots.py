"""The pictures in docs/images, made anew: ``python -m docs.screenshots`` from the project's root.

serve.png is the page of an experiment (``--experiment``, ``--storage``), ray_dashboard.png is Ray's
own dashboard of a search that is started for it. Needs Debian's chromium and chromium-driver.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from tests.tuning.webdriver import Browser, browser

IMAGES = Path(__file__).parent / "images"
SEARCH = [  # two trials at a time, running for as long as it takes to look at them
    *("tune.py", "--space", "phase3", "--profile", "laptop"),
    *("--set", "budget.trials=4", "base.data.crops_per_epoch=512"),
]
MOST_BYTES = 300_000
ANALYSED = "return document.querySelectorAll('#incumbent path.curve').length > 0"
TRIALS_ALIVE = """
const alive = (row) =>
  /phase3-[-\\d]+-\\d{4}/.test(row.innerText) && row.innerText.includes('ALIVE');
return [...document.querySelectorAll('tbody tr')].filter(alive).length >= 2
"""


def main(words: Sequence[str] | None = None) -> None:
    """Make the pictures that are asked for."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n\n")[0])
    parser.add_argument("--only", choices=["serve", "ray_dashboard"], help="left out: both")
    parser.add_argument("--experiment", default="last", help="of serve.png (last)")
    parser.add_argument("--trial", type=int, default=1, help="which one is selected (1)")
    parser.add_argument("--storage", default="~/hpcm-tune")
    flags = parser.parse_args(words)
    IMAGES.mkdir(exist_ok=True)
    with browser() as window:
        if flags.only != "ray_dashboard":
            picture_page(window, flags.experiment, flags.storage, flags.trial)
        if flags.only != "serve":
            picture_dashboard(window)


def picture_page(window: Browser, experiment: str, storage: str, trial: int) -> None:
    """serve.png: what `python -m tuning serve` shows."""
    command = ["-m", "tuning", "serve", experiment, "--storage", storage, "--port", "0"]
    with started(command, r"(http://\S+/)") as url:
        window.size(1280, 1180)
        window.get(f"{url}#trial-{trial}")
        window.wait("return document.querySelectorAll('#weights path.curve').length > 0")
        window.wait(ANALYSED, seconds=300)  # a bootstrap takes seconds, on a busy machine minutes
        save(window, "serve")


def picture_dashboard(window: Browser) -> None:
    """ray_dashboard.png: the trials of a running search among Ray's actors."""
    with tempfile.TemporaryDirectory() as storage:
        command = [*SEARCH, "--storage", storage]
        with started(command, r"^dashboard\s+(http://\S+)", RAY_AUTH_MODE="disabled") as url:
            window.size(1440, 530)
            window.get(f"{url}/#/actors")
            window.wait(TRIALS_ALIVE, seconds=180)
            save(window, "ray_dashboard")


@contextlib.contextmanager
def started(command: Sequence[str], found: str, **environment: str) -> Iterator[str]:
    """What ``found`` finds in the output of a Python command, which ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-u", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if match := re.search(found, line):
                yield match[1]
                break
        else:
            raise SystemExit(f"{' '.join(command)} ended without an address:\n{said}")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)


def save(window: Browser, name: str) -> None:
    """Write the picture, and refuse one that is too large for a repository."""
    image = Image.open(io.BytesIO(window.png())).convert("RGB")
    path = IMAGES / f"{name}.png"
    image.save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path}: {image.width} x {image.height}, {size / 1000:.0f} kB")
    if size > MOST_BYTES:
        raise SystemExit(f"{path} is larger than {MOST_BYTES / 1000:.0f} kB")


if __name__ == "__main__":
    main()
