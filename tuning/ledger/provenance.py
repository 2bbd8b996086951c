"""Where numbers come from: the commit of the code, the versions of packages, the images."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import hpcm
from hpcm.evaluation.image_sets import ImageSet, image_set
from hpcm.evaluation.run_images import run_images
from tuning.spaces.wording import count_text

PACKAGES = ("torch", "numpy", "ray", "optuna")


def data_facts(config: hpcm.TrainConfig) -> list[tuple[str, str]]:
    """The image sets that gave the numbers, by the fingerprint that ``python -m hpcm data`` prints.

    And how a set that is held out from was divided.
    """
    used = run_images(config.data)
    if config.data.holdout is None:
        return [("trained on", _described(used.train)), ("validated on", _described(used.val))]
    return [
        ("images", _described(image_set(config.data.train))),
        ("trained on", f"{used.train.count} of them"),
        ("validated on", f"{used.val.count} of them, by data.holdout"),
    ]


def _described(images: ImageSet) -> str:
    return f"{images.name}, {count_text(images.count, 'image')}, {images.fingerprint}"


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
