"""The settings of the section ``precision`` on a device; what the device cannot do is refused."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from hpcm import ranks
from hpcm.config import TrainConfig
from hpcm.optimizers.balancer import Balancer
from hpcm.schema import ConfigError

CHECK_EVERY = 50  # of ``auto`` and CUDA graphs: a run that diverged trains on for as many steps


class SlowPrecision(UserWarning):
    """A setting that makes a step slower on this device."""


@dataclass(frozen=True)
class Settings:
    """The fields of ``precision`` without nulls."""

    autocast: str
    channels_last: bool
    check_every: int
    compile: str
    cuda_graph: bool = False

    def __str__(self) -> str:
        layout = "channels last" if self.channels_last else "channels first"
        autocast = f"autocast {self.autocast}" if self.autocast != "none" else "no autocast"
        compiled = "compiled" if self.compile == "graph" else "not compiled"
        whole = ", as CUDA graphs" if self.cuda_graph else ""
        return f"{autocast}, {layout}, {compiled}{whole}, looked at every {self.check_every} steps"


def settle(cfg: TrainConfig, device: torch.device) -> Settings:
    """The settings of a run on ``device``. Warns of bfloat16 on a CPU without units for it.

    Raises :class:`ConfigError` for what the device does not have: bfloat16, CUDA graphs.
    """
    given, auto = cfg.precision, cfg.precision.preset == "auto"
    on_gpu = device.type == "cuda"
    half = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    autocast = given.autocast or ("bfloat16" if auto and half else "none")
    if autocast == "bfloat16" and on_gpu and not half:
        name = torch.cuda.get_device_name(device)
        raise ConfigError(f"precision.autocast: bfloat16: {name} cannot; none is allowed")
    if autocast == "bfloat16" and device.type == "cpu" and not has_bf16_units():
        warnings.warn(
            "precision.autocast: bfloat16: this CPU has no matrix units for it (AMX), so a step "
            "takes longer than with none",
            SlowPrecision,
            stacklevel=2,
        )
    if given.cuda_graph and not on_gpu:
        raise ConfigError(f"precision.cuda_graph is true; {device.type} has no CUDA graphs")
    check_every = given.check_every
    if check_every is None:
        later = (auto and not cfg.waits_each_step) or given.cuda_graph
        check_every = CHECK_EVERY if later else 1
    return Settings(
        autocast=autocast,
        channels_last=auto if given.channels_last is None else given.channels_last,
        check_every=check_every,
        compile=given.compile or "none",
        cuda_graph=bool(given.cuda_graph),
    )


def check_recordable(balancer: Balancer, name: str) -> None:
    """Raise :class:`ConfigError` if steps of this run cannot be recorded."""
    if not balancer.one_backward:
        raise ConfigError(f"precision.cuda_graph is true, but balancer {name} waits for the GPU")
    if ranks.count() > 1:
        raise ConfigError("precision.cuda_graph is true; not with several processes")


def has_bf16_units(cpu: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies matrices in bfloat16, as far as Linux knows."""
    return cpu.exists() and "amx_bf16" in cpu.read_text()
