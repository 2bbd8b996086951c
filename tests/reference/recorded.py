"""The recorded HPCM runs: their inputs, and models with the weights they were made with."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcm.model import build_model
from hpcm.model.hpcm import HPCM
from tests.reference.fill_weights import fill_model

GOLDEN = Path(__file__).parent.parent / "golden"


@dataclass(frozen=True)
class Recorded:
    """One file ``hpcm_<name>.npz``."""

    name: str
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]

    @property
    def variant(self) -> str:
        return f"hpcm_{self.meta['variant']}"

    def images(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The input batch, zero-padded as it was: (B, 3, H, W) in [0, 1]."""
        pixels = torch.from_numpy(self.arrays["image"].astype(np.float32) / np.float32(255))
        batch, height, width = self.meta["padded"]
        padded = torch.zeros(batch, 3, height, width)
        self.crop(padded).copy_(pixels.permute(0, 3, 1, 2))
        return padded.to(dtype)

    def crop(self, x: Tensor) -> Tensor:
        """The part of a padded tensor that the image covers (a view)."""
        top, left = self.meta["pad_top_left"]
        _, height, width = self.meta["size"]
        return x[..., top : top + height, left : left + width]


@functools.cache
def recorded(name: str) -> Recorded:
    arrays = dict(np.load(GOLDEN / f"hpcm_{name}.npz"))
    return Recorded(name, arrays, json.loads(str(arrays["meta"])))


@functools.lru_cache(maxsize=1)
def filled(variant: str) -> HPCM:
    """The variant with formula weights, seed 1; shared, so leave it as it was."""
    return fill_model(build_model(variant), seed=1)
