"""What a run reads: image sets, and the weights that fine-tuning starts from, by name."""

from __future__ import annotations

import math
import os
from pathlib import Path

from hpcm.config import TrainConfig
from hpcm.evaluation.run_images import run_images
from hpcm.model import MODELS
from hpcm.model.checkpoint import MODEL_FILE
from hpcm.schema import ConfigError, did_you_mean
from hpcm.training.data import crop_images

#: What ``start_from: sample`` means: hpcm_tiny, trained for several lmbda by the recipes beside it.
SAMPLE = Path(__file__).parents[1] / "sample"


def check_inputs(cfg: TrainConfig) -> None:
    """Raise :class:`ConfigError` if what a run would read is missing or unusable."""
    images = run_images(cfg.data)
    crop_images(images.train, cfg.data, MODELS[cfg.model.name].stride)
    if cfg.start_from is not None:
        starting_point(cfg.start_from)


def start_weights(name: str, lmbda: float) -> Path:
    """The file that a run of ``lmbda`` starts from; of ``sample`` the one of the nearest lmbda.

    Nearest is by ratio. Raises what :func:`starting_point` raises.
    """
    place = starting_point(name)
    if place != SAMPLE:
        return place
    shipped = sample_weights()
    return shipped[min(shipped, key=lambda known: abs(math.log(known / lmbda)))]


def sample_weights() -> dict[float, Path]:
    """The weights of hpcm_tiny that come with the package, by the lmbda they were trained for."""
    files = SAMPLE.glob("lmbda_*.pt")
    return dict(sorted((float(file.stem.removeprefix("lmbda_")), file) for file in files))


def starting_point(name: str) -> Path:
    """The weights called ``name`` under ``$HPCM_CHECKPOINTS``: a file, or a checkpoint's model.

    ``sample`` is the folder of the tiny codecs that come with the package.

    Raises :class:`ConfigError` with the folder and what is there.
    """
    if name == "sample":
        return SAMPLE
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(f"start_from: '{name}' is a path; name a file under $HPCM_CHECKPOINTS")
    folder = os.environ.get("HPCM_CHECKPOINTS", "")
    if not folder:
        raise ConfigError(
            f"start_from: '{name}': the environment variable HPCM_CHECKPOINTS is not set; it names "
            "the folder of checkpoints (only 'sample' needs none)"
        )
    root = Path(os.path.expanduser(folder))
    found = root / name
    if os.path.isdir(found):
        found = found / MODEL_FILE
    if not os.path.isfile(found):
        there = sorted(path.name for path in root.iterdir()) if os.path.isdir(root) else []
        raise ConfigError(
            f"start_from: '{name}' is not in $HPCM_CHECKPOINTS ({folder})"
            f"{did_you_mean(name, there)}"
        )
    return found
