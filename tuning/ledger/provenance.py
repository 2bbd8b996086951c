"""Where numbers come from: the commit of the code, the versions of packages, the images."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import hpcm
from hpcm.evaluation.run_images import run_images
from tuning.spaces.wording import count_text

PACKAGES = ("torch", "numpy", "ray", "optuna")


def data_facts(config: hpcm.TrainConfig) -> list[tuple[str, str]]:
    """Name, size and fingerprint of the images that gave the numbers."""
    images = run_images(config.data)
    sets = {"trained on": images.train, "validated on": images.val}
    return [
        (role, f"{images.name}, {count_text(images.count, 'image')}, {images.fingerprint}")
        for role, images in sets.items()
    ]


def git_commit() -> str:
    """The commit of the code, marked if files differ from it; "unknown" outside a repository."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} with uncommitted changes" if changed else commit


def versions() -> list[str]:
    """Python and the packages that decide numbers, as ``name version``."""
    packages = [f"{name} {version(name)}" for name in PACKAGES]
    return [f"Python {platform.python_version()}", *packages]


def _git(directory: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(directory), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
