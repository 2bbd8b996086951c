"""What moves the parameters (optimizers) and what weighs the tasks (balancers)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Tag

from hpcm.optimizers.adam import Adam
from hpcm.optimizers.cautious import CautiousAdam
from hpcm.optimizers.famo import Famo
from hpcm.optimizers.famo_per_scale import FamoPerScale
from hpcm.optimizers.sum import Sum
from hpcm.schema import by_name

__all__ = [
    "BALANCERS",
    "OPTIMIZERS",
    "Adam",
    "BalancerConfig",
    "CautiousAdam",
    "Famo",
    "FamoPerScale",
    "OptimizerConfig",
    "Sum",
]

OPTIMIZERS: dict[str, type] = {
    "adam": Adam,
    "cautious_adam": CautiousAdam,
}

BALANCERS: dict[str, type] = {
    "sum": Sum,
    "famo": Famo,
    "famo_per_scale": FamoPerScale,
}

OptimizerConfig = Annotated[
    Annotated[Adam, Tag("adam")] | Annotated[CautiousAdam, Tag("cautious_adam")],
    Discriminator(by_name("adam")),
]

BalancerConfig = Annotated[
    Annotated[Sum, Tag("sum")]
    | Annotated[Famo, Tag("famo")]
    | Annotated[FamoPerScale, Tag("famo_per_scale")],
    Discriminator(by_name("sum")),
]
