"""How much memory coding an image takes, asked before any is taken."""

from __future__ import annotations

from pathlib import Path

import torch

from hpcm.model.spec import Blocks, HPCMSpec, Up
from hpcm.schema import ConfigError

FLOAT = 4  # bytes
LATENT_AREA = 256  # pixels per element of the latent
# Factor over the largest block: the image itself, and what the allocator keeps. Measured peaks at
# 1 Mpixel: hpcm_base 610 to 784 bytes a pixel (estimate 928), hpcm_tiny 68 to 135 (160).
SLACK, CONSTANT = 1.5, 64


def coding_memory(spec: HPCMSpec, height: int, width: int) -> int:
    """Estimated peak of coding one image of this padded size, in bytes, without the weights.

    The largest residual block decides: its input, its spatial layer's output and its hidden layer
    are alive together.
    """
    largest, area, width_now = 0.0, LATENT_AREA, spec.latent
    for stage in spec.g_s:
        if isinstance(stage, Blocks):
            largest = max(largest, (2 + spec.expansion) * width_now / area)
        elif isinstance(stage, Up):
            area, width_now = area // 4, stage.width
    context = (2 + 2) * 3 * spec.latent / LATENT_AREA  # depth-wise blocks expand by 2
    per_pixel = FLOAT * max(largest, context) * SLACK + CONSTANT
    return int(per_pixel * height * width)


def available_memory(device: torch.device) -> int | None:
    """Bytes that can be taken now; None if it cannot be found out."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def check_memory(spec: HPCMSpec, height: int, width: int, device: torch.device) -> None:
    """Refuse an image of this padded size if there is no room. Raises ConfigError."""
    needed, available = coding_memory(spec, height, width), available_memory(device)
    if available is not None and needed > available:
        raise ConfigError(
            f"an image of {width} x {height} pixels needs about {needed / 2**30:.1f} GiB of memory "
            f"on {device}; {available / 2**30:.1f} GiB are free"
        )
