"""The authors' training, from a checkout of their repository (github lyq133/LIC-HPCM).

Their files are used as they are. What an entropy coder, a progress bar, torchvision and TensorBoard
would do is not part of a step: stand-ins take their places. On a CPU their ``device="cuda"`` is
passed over.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock, patch

import torch
from torch import Tensor, nn

MODULES = {
    "hpcm_base": "HPCM_Base",
    "hpcm_large": "HPCM_Large",
    "hpcm_phi": "HPCM_Base_PhiContext",
    "hpcm_1b": "HPCM_1B",
}
NOT_PART_OF_A_STEP = (
    *("src.entropy_models._CXX", "src.entropy_models.unbounded_ans"),
    *("tqdm", "torchvision", "torchvision.transforms", "torch.utils.tensorboard"),
)


def is_official(folder: Path) -> bool:
    """Whether ``folder`` looks like their checkout."""
    return (folder / "train.py").is_file() and (folder / "src" / "models").is_dir()


def build(folder: Path, model: str, device: str) -> tuple[nn.Module, ModuleType]:
    """Their model of that name, and their ``train.py``."""
    sys.path.insert(0, str(folder))
    stand_ins = {name: MagicMock(name=name) for name in NOT_PART_OF_A_STEP}
    with patch.dict(sys.modules, stand_ins):
        training = importlib.import_module("train")
        variant = importlib.import_module(f"src.models.{MODULES[model]}")
    with _on(device):
        return variant.HPCM().to(device), training


def stepper(folder: Path, model: str, device: str) -> tuple[Callable[[Tensor], None], nn.Module]:
    """Their loop's body, with their optimiser and loss: a function of a batch."""
    net, training = build(folder, model, device)
    torch.backends.cudnn.deterministic = True  # as their main does
    torch.backends.cudnn.benchmark = True
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    criterion = training.RateDistortionLoss(lmbda=0.013)

    def step(x: Tensor) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            training.train_one_epoch(net, criterion, _OneBatch([x]), optimizer, 0, 0, 1.0)

    return step, net


class _OneBatch(list[Tensor]):
    """What their loop wants of a loader."""

    dataset = (None,)


@contextlib.contextmanager
def _on(device: str) -> Iterator[None]:
    """Let ``torch.ones(.., device="cuda")`` make its tensor on ``device``."""
    ones: Any = torch.ones

    def elsewhere(*size: Any, **options: Any) -> Tensor:
        return ones(*size, **{**options, "device": device})

    with patch.object(torch, "ones", elsewhere):
        yield
