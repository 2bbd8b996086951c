"""What training minimises: rate and distortion, the tasks they split into, and regularizers."""

from __future__ import annotations

from hpcm.choices import EachOf
from hpcm.losses.dct_truncation import DctTruncation
from hpcm.losses.distortions import DISTORTIONS
from hpcm.losses.diverged import Diverged
from hpcm.losses.inter_scale import InterScale
from hpcm.losses.rate_distortion import LossConfig, RDTerms, rate_distortion
from hpcm.losses.regularizer import Regularizer, RegularizerConfig
from hpcm.losses.tasks import TASK_SETS, check

__all__ = [
    "DISTORTIONS",
    "REGULARIZERS",
    "TASK_SETS",
    "DctTruncation",
    "Diverged",
    "InterScale",
    "LossConfig",
    "RDTerms",
    "Regularizer",
    "Regularizers",
    "check",
    "rate_distortion",
]

REGULARIZERS: dict[str, type[RegularizerConfig]] = {
    "inter_scale": InterScale,
    "dct_truncation": DctTruncation,
}


class Regularizers(EachOf):
    """What changes a training batch or adds to its loss, never an evaluation; off by default."""

    parts = REGULARIZERS
    first = ("inter_scale", "dct_truncation")
