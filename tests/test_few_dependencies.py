"""`import hpcm` and a training need torch, numpy, pydantic, PyYAML and Pillow, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]

# As on a machine where these were never installed: no finder finds them.
SCRIPT = """
import math, sys

ABSENT = {"ray", "optuna", "compressai", "wandb", "torchvision", "pandas", "skimage", "sklearn",
          "rich", "scipy", "pyarrow", "matplotlib", "pytorch_msssim", "tuning"}

asked = set()

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in ABSENT:
            return self.finder.find_spec(name, path, target)
        asked.add(top)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import hpcm
for name in hpcm.__all__:
    getattr(hpcm, name)
assert not asked, f"import hpcm asks for {asked}, if only to see whether it is there"
from hpcm import TrainConfig, build_model, train

config = TrainConfig.from_plain(
    {
        "model": {"name": "hpcm_tiny"},
        "data": {"train": "few", "val": "few", "batch_size": 1, "crops_per_epoch": 1, "workers": 0},
        "epochs": 1,
    },
    "test",
)
model = build_model(config.model)
before = [parameter.detach().clone() for parameter in model.parameters()]
(report,) = list(train(config, model=model))
assert report.epoch == 1
assert math.isfinite(report.metrics["val_rd_cost"])
assert any((old != new).any() for old, new in zip(before, model.parameters(), strict=True))
assert not ABSENT & set(sys.modules)
print("trained")
"""


def test_one_training_step_with_few_packages(image_folder: Callable[..., Path]) -> None:
    image_folder("few", count=1)
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "trained\n", run.stdout + run.stderr
