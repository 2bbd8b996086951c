"""What tests share: a tiny model, synthetic images, golden numbers, and no network."""

from __future__ import annotations

import json
import os
import platform
import signal
from collections.abc import Callable, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before torch and Ray are imported. One thread: the same sums in the same order on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # every Ray listener on loopback
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ.pop("RAY_ADDRESS", None)  # never a cluster that the shell happens to point at
os.environ.pop("HPCM_DATA", None)  # nor somebody's data
os.environ.pop("HPCM_STUDY_URL", None)  # nor somebody's database
os.environ.pop("COLUMNS", None)  # nor the width of a terminal; pytest-xdist sets it

import pytest

if TYPE_CHECKING:  # the process that only hands tests to others starts without torch
    import numpy as np
    import torch

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--regenerate` rewrites what the golden fixture compares with, and fails the session."""
    parser.addoption("--regenerate", action="store_true", help="write tests/golden, then fail")


def pytest_configure(config: pytest.Config) -> None:
    """Room for the golden files that this session wrote, and signals as tests expect them.

    What our parent ignored (`nohup make test`, `make test &` in a script) every command that a test
    starts would ignore too, and some are to be interrupted. A handler, even an idle one, is not
    inherited.
    """
    config.stash[_WRITTEN] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Golden files are written in one process, which then knows of all of them."""
    if config.getoption("--regenerate") and config.pluginmanager.hasplugin("xdist"):
        config.option.numprocesses, config.option.dist, config.option.tx = 0, "no", []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start Ray come first: they take longest, and another process does the rest."""
    items.sort(key=lambda item: not _starts_ray(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of several processes one runs a whole file, and one runs all files that start Ray.

    Two Rays at a time share the cores that the trials of each count on. The README's commands are
    a file like any other: they wait for nothing. (`--dist loadgroup` is for this, but pytest-xdist
    3.8 sets a name that pytest 9.2 does not read.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "ray" if _starts_ray(nodeid) else nodeid.partition("::")[0]

    config.option.loadscopereorder = False  # in the order of the tests
    return ByFile(config, log)


@cache
def _file_starts_ray(file: str) -> bool:
    return "pytest.mark.ray" in (ROOT / file).read_text(encoding="utf-8")


def _starts_ray(nodeid: str) -> bool:
    file = nodeid.partition("::")[0]
    return not file.startswith("tests/e2e") and _file_starts_ray(file)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A session that wrote golden files has failed: a person reads the diff before it can pass."""
    if session.config.stash[_WRITTEN]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the golden files that this session wrote."""
    for path in config.stash[_WRITTEN]:
        terminalreporter.write_line(f"WRITTEN {path}: read the diff, then run without --regenerate")


_WRITTEN = pytest.StashKey[list[Path]]()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``golden(name, values, tolerance, origin)`` compares with ``golden/<name>.json``.

    ``values`` maps names to numbers or flat lists of numbers; ``tolerance`` is absolute and counts
    where the file is written, a comparison uses the file's.
    """
    config = request.config

    def compare(
        name: str, values: dict[str, float | Sequence[float]], tolerance: float, origin: str
    ) -> None:
        import numpy as np
        import torch

        path = GOLDEN / f"{name}.json"
        if config.getoption("--regenerate"):
            versions = {"python": platform.python_version(), "torch": torch.__version__}
            record = {
                "origin": origin,
                "date": date.today().isoformat(),
                "versions": versions,
                "tolerance": tolerance,
                "values": values,
            }
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(record, indent=1) + "\n")
            config.stash[_WRITTEN].append(path)
            return
        record = json.loads(path.read_text())
        assert sorted(values) == sorted(record["values"])
        for key, expected in record["values"].items():
            np.testing.assert_allclose(
                values[key], expected, rtol=0, atol=record["tolerance"], err_msg=f"{name}: {key}"
            )

    return compare


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of BD-rates from 100 draws: what says them is tested, and not how wide they are."""
    monkeypatch.setattr("hpcm.evaluation.interval.DRAWS", 100)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files of checkpoints that are read to be hashed, as it happens."""
    from hpcm.atomic_files import Contents

    names: list[str] = []
    of = Contents.of

    def counted(path: Path) -> Contents:
        names.append(path.name)
        return of(path)

    monkeypatch.setattr(Contents, "of", counted)
    return names


def synthetic_image(height: int, width: int, seed: int) -> np.ndarray:
    """A picture with gradients, edges and grain, fixed by ``seed``: uint8, (height, width, 3)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    planes = []
    for _ in range(3):
        fx, fy, phase = rng.uniform(1, 9, 3)
        wave = np.sin(fx * x * 6 + phase) * np.cos(fy * y * 6)
        edge = (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1) > rng.uniform(-0.3, 0.3)) * 0.6
        planes.append(wave * 0.5 + edge + rng.normal(0, 0.04, (height, width)))
    picture = np.stack(planes, axis=-1)
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    return (picture * 255).round().astype(np.uint8)


@pytest.fixture
def image_batch() -> Callable[..., torch.Tensor]:
    """``image_batch(count=1, height=256, width=256, seed=0)``: float32 in [0, 1]."""

    def make(count: int = 1, height: int = 256, width: int = 256, seed: int = 0) -> torch.Tensor:
        import numpy as np
        import torch

        pictures = [synthetic_image(height, width, seed * 1000 + index) for index in range(count)]
        stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        return stacked.float().div(255).contiguous()

    return make


@pytest.fixture
def image_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``image_folder(name, count=2, height=256, width=256)``: PNGs in that set under $HPCM_DATA."""
    root = tmp_path / "data"
    monkeypatch.setenv("HPCM_DATA", str(root))

    def make(name: str, count: int = 2, height: int = 256, width: int = 256) -> Path:
        from PIL import Image

        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture = synthetic_image(height, width, index + 100 * len(name))
            Image.fromarray(picture).save(folder / f"{index:03d}.png")
        return folder

    return make


@pytest.fixture
def tiny_model() -> Callable[..., torch.nn.Module]:
    """``tiny_model(seed=0)``: a fresh hpcm_tiny on the CPU whose weights ``seed`` fixes."""

    def make(seed: int = 0) -> torch.nn.Module:
        import torch

        from hpcm.model import build_model

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build_model("hpcm_tiny")

    return make
