"""What training minimises: rate and distortion, the tasks they split into, and regularizers."""

from __future__ import annotations

from dataclasses import field

from hpcm.losses.dct_truncation import DctTruncation
from hpcm.losses.diverged import Diverged
from hpcm.losses.inter_scale import InterScale
from hpcm.losses.rate_distortion import DISTORTIONS, LossConfig, RDTerms, rate_distortion
from hpcm.losses.tasks import TASK_SETS, TaskSet, check
from hpcm.schema import config_class

__all__ = [
    "DISTORTIONS",
    "TASK_SETS",
    "DctTruncation",
    "Diverged",
    "InterScale",
    "LossConfig",
    "RDTerms",
    "Regularizers",
    "TaskSet",
    "check",
    "rate_distortion",
]


@config_class
class Regularizers:
    """What changes a training batch or adds to its loss, never an evaluation; off by default."""

    inter_scale: InterScale = field(default_factory=InterScale)
    dct_truncation: DctTruncation = field(default_factory=DctTruncation)
