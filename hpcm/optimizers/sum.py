"""The plain sum of the tasks: no weights to choose."""

from __future__ import annotations

from typing import Literal

import torch

from hpcm.optimizers.balancer import Balancer, BalancerConfig
from hpcm.schema import config_class


@config_class
class Sum(BalancerConfig):
    """The plain sum of the tasks: lmbda D + R."""

    name: Literal["sum"] = "sum"

    def build(
        self, names: tuple[str, ...], scales: tuple[int | None, ...], device: torch.device | str
    ) -> Balancer:
        """The balancer of the tasks ``names``."""
        return Balancer(names, scales, device)
