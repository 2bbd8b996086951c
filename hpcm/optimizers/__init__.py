"""What moves the parameters (optimizers) and what weighs the tasks (balancers)."""

from __future__ import annotations

from hpcm.optimizers.adam import Adam
from hpcm.optimizers.adamw import AdamW
from hpcm.optimizers.balancer import BalancerConfig
from hpcm.optimizers.cautious import CautiousAdam
from hpcm.optimizers.dwa import Dwa
from hpcm.optimizers.famo import Famo
from hpcm.optimizers.famo_per_scale import FamoPerScale
from hpcm.optimizers.gradient import Mgda, UpGrad
from hpcm.optimizers.learned_shares import LearnedShares
from hpcm.optimizers.learned_weights import Direct, Uncertainty
from hpcm.optimizers.optimizer import OptimizerConfig, eval_mode, train_mode
from hpcm.optimizers.schedule_free import ScheduleFreeAdam
from hpcm.optimizers.soap import Soap
from hpcm.optimizers.sum import Sum

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

OPTIMIZERS: dict[str, type[OptimizerConfig]] = {
    "adam": Adam,
    "adamw": AdamW,
    "cautious_adam": CautiousAdam,
    "soap": Soap,
    "schedule_free_adam": ScheduleFreeAdam,
}

BALANCERS: dict[str, type[BalancerConfig]] = {
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
