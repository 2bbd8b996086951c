"""What moves the parameters (optimizers) and what weighs the tasks (balancers)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Tag

from hpcm.optimizers.adam import Adam
from hpcm.optimizers.adamw import AdamW
from hpcm.optimizers.cautious import CautiousAdam
from hpcm.optimizers.dwa import Dwa
from hpcm.optimizers.famo import Famo
from hpcm.optimizers.famo_per_scale import FamoPerScale
from hpcm.optimizers.gradient import Mgda, UpGrad
from hpcm.optimizers.learned_shares import LearnedShares
from hpcm.optimizers.learned_weights import Direct, Uncertainty
from hpcm.optimizers.modes import eval_mode, train_mode
from hpcm.optimizers.schedule_free import ScheduleFreeAdam
from hpcm.optimizers.soap import Soap
from hpcm.optimizers.sum import Sum
from hpcm.schema import by_name

__all__ = [
    "BALANCERS",
    "OPTIMIZERS",
    "Adam",
    "AdamW",
    "BalancerConfig",
    "CautiousAdam",
    "Direct",
    "Dwa",
    "Famo",
    "FamoPerScale",
    "LearnedShares",
    "Mgda",
    "OptimizerConfig",
    "ScheduleFreeAdam",
    "Soap",
    "Sum",
    "Uncertainty",
    "UpGrad",
    "eval_mode",
    "train_mode",
]

OPTIMIZERS: dict[str, type] = {
    "adam": Adam,
    "adamw": AdamW,
    "cautious_adam": CautiousAdam,
    "soap": Soap,
    "schedule_free_adam": ScheduleFreeAdam,
}

BALANCERS: dict[str, type] = {
    "sum": Sum,
    "famo": Famo,
    "famo_per_scale": FamoPerScale,
    "uncertainty": Uncertainty,
    "direct": Direct,
    "learned_shares": LearnedShares,
    "dwa": Dwa,
    "mgda": Mgda,
    "upgrad": UpGrad,
}

OptimizerConfig = Annotated[
    Annotated[Adam, Tag("adam")]
    | Annotated[AdamW, Tag("adamw")]
    | Annotated[CautiousAdam, Tag("cautious_adam")]
    | Annotated[Soap, Tag("soap")]
    | Annotated[ScheduleFreeAdam, Tag("schedule_free_adam")],
    Discriminator(by_name("adam")),
]

BalancerConfig = Annotated[
    Annotated[Sum, Tag("sum")]
    | Annotated[Famo, Tag("famo")]
    | Annotated[FamoPerScale, Tag("famo_per_scale")]
    | Annotated[Uncertainty, Tag("uncertainty")]
    | Annotated[Direct, Tag("direct")]
    | Annotated[LearnedShares, Tag("learned_shares")]
    | Annotated[Dwa, Tag("dwa")]
    | Annotated[Mgda, Tag("mgda")]
    | Annotated[UpGrad, Tag("upgrad")],
    Discriminator(by_name("sum")),
]
