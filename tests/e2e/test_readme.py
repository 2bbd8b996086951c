"""Every command of the README runs, in order, in a copy of the project; the numbers repeat.

All run in one process, which imports torch and starts Ray once; that each command starts in a
process of its own is held by the tests of commands.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
PROMPTS = ("python ", "make ", "ray ")

IMAGES = "--images small"
SMALL = "base.data.val=small"  # one image of 256x256, in $HPCM_DATA
#: What makes a command small enough for a test; every README command has its line here.
REDUCED = {
    "make tune": None,  # held by tests/test_house.py: it runs tune.py --space phase3
    "make test": None,  # this
    "python tune.py --space phase3 --dry-run": f"--set {SMALL} base.data.crops_per_epoch=4",
    "python tune.py --space phase3 --simulate family:good": "--storage runs/simulated "
    "--set budget.trials=8 fidelity.min=11 fidelity.max=99",
    "python tune.py --space phase3": f"--set {SMALL} budget.trials=1 fidelity.max=2 "
    "base.data.crops_per_epoch=4",
    "python tune.py --resume last": "",
    "python tune.py --resume last --set budget.trials=16": "--set budget.trials=2",
    "python -m tuning status last": "",
    "python -m tuning report last -o report.html": "",
    "python -m tuning ladder search_spaces/best/phase3.laptop.yaml --against baseline "
    "--lmbdas 0.0004 0.0008 0.0016 0.0032 --seeds 1 2 --start-from sample --images sample_val "
    "--dry-run": "",
    "python -m hpcm data mine": "",
    "python tune.py --space phase3 --profile laptop --set base.data.train=mine "
    "base.data.val=null base.data.holdout=6": "--dry-run --set base.data.crops_per_epoch=4",
    "python -m tuning report last -o mine.html": "",
    "python -m tuning ladder search_spaces/best/phase3.laptop.yaml --against baseline "
    "--lmbdas 0.0004 0.0008 0.0016 0.0032 --seeds 1 2 --start-from sample "
    "--images mine_test": "--dry-run",
    "python -m hpcm train search_spaces/best/phase3.laptop.yaml --output runs/best": "",
    "python -m hpcm evaluate runs/best --images sample_val --real --output runs/best.json": IMAGES,
    "python -m hpcm compare results/kodak/vtm_18.0.json results/kodak/hpcm_base.json "
    "--plot rd.pdf": "",
    "python -m hpcm evaluate hpcm/sample/lmbda_*.pt --images sample_val "
    "--output runs/estimated.json": IMAGES,
    "python -m hpcm evaluate hpcm/sample/lmbda_*.pt --images sample_val --real "
    "--output runs/real.json": IMAGES,
    "python -m hpcm compare runs/estimated.json runs/real.json": "",
    "python -m hpcm compress photo.png -o runs/coded --checkpoint runs/best": "",
    "python -m hpcm decompress runs/coded/photo.hpcm -o runs/decoded --checkpoint runs/best": "",
    "ray job submit --working-dir . -- python tune.py --space phase3": None,  # a test of its own
}


def readme_commands() -> list[str]:
    fences = [body for language, body in FENCE.findall((ROOT / "README.md").read_text())]
    lines = [line.split("  #")[0].rstrip() for body in fences for line in body.splitlines()]
    return [line for line in lines if line.startswith(PROMPTS)]


def test_every_command_of_the_readme_is_run_here() -> None:
    assert set(readme_commands()) == set(REDUCED)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git has, and a photograph."""
    folder = tmp_path_factory.mktemp("project")
    for name in (
        "hpcm",
        "tuning",
        "results",
        "search_spaces",
        "tune.py",
        "README.md",
        "pyproject.toml",
    ):
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "best")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    import skimage

    shutil.copy(Path(skimage.__file__).parent / "data" / "chelsea.png", folder / "photo.png")
    (folder / "data" / "small").mkdir(parents=True)
    with Image.open(folder / "photo.png") as photo:
        photo.crop((0, 0, 256, 256)).save(folder / "data" / "small" / "photo.png")
        for name, count in (("mine", 8), ("mine_test", 1)):
            (folder / "data" / name).mkdir()
            for left in range(count):
                crop = photo.crop((left, 0, left + 256, 256))
                crop.save(folder / "data" / name / f"{left}.png")
    return folder


@pytest.fixture(scope="module")
def said(project: Path) -> dict[str, str]:
    """What each command printed; all have to succeed."""
    environment = {
        **os.environ,
        "HOME": str(project / "home"),
        "HPCM_DATA": str(project / "data"),
        "PYTHONPATH": f"{project}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
    }
    (project / "home").mkdir()
    commands = [command for command in readme_commands() if REDUCED[command] is not None]
    file = project / "commands.json"
    file.write_text(json.dumps([_words(command, project) for command in commands]))
    run = subprocess.run(
        [sys.executable, "-m", "tests.e2e.one_process", str(file)],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert run.returncode == 0, f"{run.stdout[-3000:]}\n{run.stderr[-5000:]}"
    return dict(zip(commands, json.loads(file.read_text()), strict=True))


def _words(command: str, project: Path) -> list[str]:
    """As a shell expands them, without ``python``; files that are not there yet stay patterns."""
    words = []
    for word in [*shlex.split(command)[1:], *shlex.split(REDUCED[command] or "")]:
        words += sorted(glob(word, root_dir=project)) or [word]
    return words


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_search_is_exported_and_its_numbers_repeat(said: dict[str, str], project: Path) -> None:
    search = said["python tune.py --space phase3"]
    assert "laptop" in search.splitlines()[0]
    assert "exported to" in search
    (ledger,) = (project / "home" / "hpcm-tune").glob("phase3-*/ledger.jsonl")
    export = (project / "search_spaces" / "best" / "phase3.laptop.yaml").read_text()
    best = int(re.search(r"trial +#? ?(\d+)", export).group(1))
    events = [json.loads(line) for line in ledger.read_text().splitlines()]
    reported = [e["metrics"] for e in events if e.get("trial") == best and "metrics" in e]
    lines = (project / "runs" / "best" / "metrics.jsonl").read_text().splitlines()
    repeated = [json.loads(line) for line in lines]
    assert [m["epoch"] for m in reported] == [m["epoch"] for m in repeated] == [1, 2]
    for then, now in zip(reported, repeated, strict=True):
        assert {k: v for k, v in then.items() if k in now and k != "train/seconds"} == {
            k: v for k, v in now.items() if k in then and k != "train/seconds"
        }


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_what_follows_a_search(said: dict[str, str], project: Path) -> None:
    assert "complete" in said["python tune.py --resume last"]
    more = said["python tune.py --resume last --set budget.trials=16"]
    assert "1 of 2 trials had ended" in more
    assert "2 trials: " in more
    assert "prior" in said["python -m tuning status last"]
    curve = json.loads((project / "runs" / "best.json").read_text())
    assert len(curve["results"]["bpp"]) == 1
    (compared,) = [text for command, text in said.items() if "vtm_18.0" in command]
    assert "BD-rate -15.45 %" in compared
    assert (project / "rd.pdf").stat().st_size > 5000
    assert (project / "runs" / "decoded" / "photo.png").exists()
    assert (project / "runs" / "coded" / "photo.hpcm").stat().st_size > 100


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_the_notebook_runs(
    said: dict[str, str], project: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (code,) = [body for kind, body in FENCE.findall((ROOT / "README.md").read_text()) if kind]
    monkeypatch.chdir(project)
    monkeypatch.setenv("HPCM_DATA", str(project / "data"))
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own text
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[0] == "1"
    assert "psnr-rgb" in out[-1]
