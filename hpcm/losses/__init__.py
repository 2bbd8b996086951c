"""What training minimises: rate and distortion, the tasks they split into, and regularizers."""

from __future__ import annotations

from dataclasses import field

from hpcm.losses.dct_truncation import DctTruncation
from hpcm.losses.diverged import Diverged
from hpcm.losses.inter_scale import InterScale
from hpcm.losses.rate_distortion import LossConfig
from hpcm.schema import config_class

__all__ = ["DctTruncation", "Diverged", "InterScale", "LossConfig", "Regularizers"]


@config_class
class Regularizers:
    """What changes a training batch or adds to its loss, and never to an evaluation; all off by default."""

    inter_scale: InterScale = field(default_factory=InterScale)
    dct_truncation: DctTruncation = field(default_factory=DctTruncation)
