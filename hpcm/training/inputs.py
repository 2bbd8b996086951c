"""What a run reads: image sets, and the weights that fine-tuning starts from, by name."""

from __future__ import annotations

import os
from pathlib import Path

from hpcm.config import TrainConfig
from hpcm.evaluation.image_sets import image_set
from hpcm.model.checkpoint import MODEL_FILE
from hpcm.schema import ConfigError, did_you_mean

#: What ``start_from: sample`` means: hpcm_tiny, trained by weights.yaml beside the file.
SAMPLE_WEIGHTS = Path(__file__).parents[1] / "sample" / "weights.pt"


def check_inputs(cfg: TrainConfig) -> None:
    """Raise :class:`ConfigError` where what a run would read is missing or unusable."""
    for name in (cfg.data.train, cfg.data.val):
        image_set(name)
    if cfg.start_from is not None:
        starting_point(cfg.start_from)


def starting_point(name: str) -> Path:
    """The weights called ``name`` under ``$HPCM_CHECKPOINTS``: a file, or a checkpoint's model.

    ``sample`` is the tiny codec that comes with the package.

    Raises :class:`ConfigError` that says where it was looked for and what is there.
    """
    if name == "sample":
        return SAMPLE_WEIGHTS
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(f"start_from: '{name}' is a path; name a file under $HPCM_CHECKPOINTS")
    folder = os.environ.get("HPCM_CHECKPOINTS", "")
    if not folder:
        raise ConfigError(
            f"start_from: '{name}': the environment variable HPCM_CHECKPOINTS is not set; it names "
            "the folder of checkpoints (only 'sample' needs none)"
        )
    found = Path(folder).expanduser() / name
    if found.is_dir():
        found = found / MODEL_FILE
    if not found.is_file():
        root = Path(folder).expanduser()
        there = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
        raise ConfigError(
            f"start_from: '{name}' is not in $HPCM_CHECKPOINTS ({folder})"
            f"{did_you_mean(name, there)}"
        )
    return found
