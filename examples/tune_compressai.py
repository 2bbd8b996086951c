"""Search training settings of a codec that is not HPCM: CompressAI's mean-scale hyperprior.

    python examples/tune_compressai.py --profile laptop

A search tunes whatever yields an `EpochReport` per epoch. This model is trained by `hpcm.train`, as
HPCM is, so balancers, optimizers, schedules, checkpoints and the rate at equal quality
(`delta_rate`) come with it. For that a model needs what :class:`Hyperprior` adds:

* ``stride``: image sides are padded to multiples of it; ``latent_channels`` of y; parameters whose
  names say the part of a codec that they belong to: ``g_a.``, ``g_s.``, ``h_a.`` or ``h_s.``;
* ``forward(x, noise)`` that gives ``x_hat`` (B, 3, H, W), ``bits`` and ``latents``. ``bits`` has
  ``z`` (B,) and ``steps`` (B, 11), the bits of y in HPCM's eleven coding steps: a codec that codes
  y at once puts all of them into the last;
* ``noise_shapes(height, width)``: the training noise of one image by name. It depends on seed and
  step alone, so a run that is killed continues bit for bit, and FAMO looks twice at one batch.

Task sets with scales (`rate4`, `exact5`) and regularizers on latents at three scales have no
meaning for such a codec: search over `two_task`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hpcm
from hpcm.checkpoints import Checkpoint
from tuning import best_config, load_space, run_experiment
from tuning.watching.summary import summary_lines

SPACE = Path(__file__).with_name("compressai.yaml")
STEPS = 11  # coding steps of HPCM's y, the last of which is the finest scale's
#: N and M by the size that the space names as base.model; the larger: mbt2018_mean, quality 1 to 4.
WIDTHS = {"hpcm_tiny": (24, 32), "hpcm_base": (128, 192)}


class Hyperprior(nn.Module):
    """CompressAI's `MeanScaleHyperprior` (Minnen et al. 2018, no context), as `hpcm` wants it."""

    stride = 64  # pixels

    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its imports
            from compressai.models import MeanScaleHyperprior

        codec = MeanScaleHyperprior(n, m)
        self.g_a, self.g_s, self.h_a = codec.g_a, codec.g_s, codec.h_a
        models = {"z": codec.entropy_bottleneck, "y": codec.gaussian_conditional}
        self.h_s = nn.ModuleDict({"parameters_of_y": codec.h_s, **models})
        self.latent_channels = m

    def noise_shapes(self, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """A number from which CompressAI's own generator of noise starts."""
        return {"start": (1,)}

    def forward(self, x: Tensor, noise: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """Code images x (B, 3, H, W); ``noise`` in training alone."""
        with torch.random.fork_rng(enabled=noise is not None):
            if noise is not None:
                torch.manual_seed(int(2**24 * (0.5 + float(noise["start"][0]))))
            y = self.g_a(x)
            z_hat, of_z = self.h_s["z"](self.h_a(y))
            scales, means = self.h_s["parameters_of_y"](z_hat).chunk(2, 1)
            y_hat, of_y = self.h_s["y"](y, scales, means=means)
        z, y_bits = (-likelihoods.log2().flatten(1).sum(1) for likelihoods in (of_z, of_y))  # (B,)
        steps = torch.zeros(len(x), STEPS, device=x.device)
        steps[:, -1] = y_bits
        return {"x_hat": self.g_s(y_hat), "bits": {"z": z, "steps": steps}, "latents": {}}


def train(cfg: hpcm.TrainConfig, *, resume: Checkpoint | None = None) -> Iterator[hpcm.EpochReport]:
    """What a trial iterates: the loop of HPCM with this model."""
    with torch.random.fork_rng():
        torch.manual_seed(cfg.seed)
        model = Hyperprior(*WIDTHS[cfg.model.name])
    return hpcm.train(cfg, resume=resume, model=model)


def main() -> None:
    """Search, then say what came out and how to train it."""
    parser = argparse.ArgumentParser(description="Search settings of CompressAI's hyperprior.")
    parser.add_argument("--profile", choices=("laptop", "cluster"), default="laptop")
    parser.add_argument("--storage", default="~/hpcm-tune", help="folder of all experiments")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    flags = parser.parse_args()
    space = load_space(SPACE, flags.profile, flags.set)
    result = run_experiment(space, storage=flags.storage, train=train)
    print("\n".join(summary_lines(result, export=None)))
    if result.best is not None:
        best_config(result).to_yaml(result.info.directory / "best.yaml")
        print(f"the best settings: {result.info.directory / 'best.yaml'}")


if __name__ == "__main__":
    main()
