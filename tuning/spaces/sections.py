"""The sections of a search-space file that say how to search, in Ray's and the papers' words."""

from __future__ import annotations

import copy
from dataclasses import field
from typing import Annotated, Any, Literal, TypeAlias

from hpcm.choices import OneOf
from hpcm.defaults import MOST_CORES
from hpcm.schema import bounded, config_class
from tuning.spaces.scheduler_section import FORMER, SCHEDULERS, SchedulerSection
from tuning.spaces.searcher_section import SEARCHERS, SearcherSection

MOST_EPOCHS = 999_999  # six digits in the names of checkpoints
MOST_TRIALS = 1_000_000
SMALLEST_SHARE = 1e-4  # of a device; Ray counts in these
LARGER_IS_BETTER = ("val_psnr", "val_ms_ssim_db")
Metric: TypeAlias = Literal["val_rd_cost", "val_bpp", "val_psnr", "val_ms_ssim_db"]
DELTA_RATE: Literal["delta_rate"] = "delta_rate"  # percent of rate above the baseline's


@config_class
class Fidelity:
    """How long trials train: between ``min`` (the first rung) and ``max`` epochs."""

    name: Literal["epochs"] = "epochs"
    min: int = 1  # epochs of the first comparison, >= 1; pbt: between any two; not with fifo
    max: int = 999  # epochs, >= min; min * reduction_factor^k makes all rungs even
    schedule_horizon: int | Literal["max"] = 3000  # epochs at which every schedule ends; max: here

    def __post_init__(self) -> None:
        if self.min < 1:
            raise ValueError(f"min is {self.min}; must be 1 or more epochs")
        if self.max > MOST_EPOCHS:
            raise ValueError(f"max is {self.max}; must be {MOST_EPOCHS:,} or fewer epochs")
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, above max ({self.max})")
        if self.horizon < self.max:
            raise ValueError(
                f"schedule_horizon is {self.horizon}, below max ({self.max}): the schedules would"
                " end before the trials do"
            )

    @property
    def horizon(self) -> int:
        """Epochs at which every schedule reaches t = 1."""
        return self.max if self.schedule_horizon == "max" else self.schedule_horizon


@config_class
class Bound:
    """What a metric of the best trial must keep."""

    min: float | None = None  # the least it may be; null: no bound
    max: float | None = None  # the most it may be; null: no bound

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("no bound is given; must be min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min is {self.min:g}, above max ({self.max:g})")


#: What the user would do without a search; `objective.reference.config` replaces it.
BASELINE: dict[str, Any] = {
    "optimizer": {"name": "adam", "lr": 1.0e-4},
    "balancer": {"name": "sum"},
}


@config_class
class Reference:
    """The runs of the baseline that `delta_rate` compares with."""

    config: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(BASELINE))  # sections
    lmbdas: tuple[float, ...] | None = None  # three or more; null: half, once, twice the space's
    start_from: dict[str, str] = field(default_factory=dict)  # weights by lmbda: {"0.013": name}
    experiment: str | None = None  # an earlier one whose reference runs are taken, at no cost

    def __post_init__(self) -> None:
        found = self.lmbdas
        if found is None:
            return
        if len(found) < 3 or len(set(found)) < len(found) or min(found) <= 0:
            raise ValueError(
                f"lmbdas is {list(found)}; must be three or more different numbers above 0"
            )


@config_class
class Objective:
    """What is compared: the rate at equal quality, or one metric at one lmbda."""

    metric: Metric | Literal["delta_rate"] = "val_rd_cost"
    mode: Literal["min", "max"] = "min"
    weights: Literal["raw", "ema"] = "raw"  # whose metrics are compared; ema needs ema.decay
    reference: Reference = field(default_factory=Reference)  # of delta_rate
    on_diverged: Literal["worst", "fail"] = "worst"  # what the searcher hears of a diverged trial
    pareto: tuple[Metric, ...] = ()  # two metrics whose front the searcher looks for; rungs: metric
    constraints: dict[Metric, Bound] = field(default_factory=dict)  # bounds: {val_bpp: {max: 0.3}}

    def __post_init__(self) -> None:
        mode = "max" if self.metric in LARGER_IS_BETTER else "min"
        if self.mode != mode:
            better = "larger" if mode == "max" else "smaller"
            raise ValueError(
                f"mode is {self.mode}; {self.metric} is better when {better}, write {mode}"
            )
        if self.pareto and self.metric == DELTA_RATE:
            raise ValueError(f"pareto is {list(self.pareto)}; not with {DELTA_RATE}, leave it out")
        if self.pareto and (len(self.pareto) != 2 or self.pareto[0] == self.pareto[1]):
            raise ValueError(f"pareto is {list(self.pareto)}; must be two different metrics")

    @property
    def score(self) -> str:
        """The name of what is compared in a trial's reports."""
        return self.metric if self.metric == DELTA_RATE else self.of_weights(self.metric)

    @property
    def sign(self) -> float:
        """What a score is multiplied by so that smaller is better: 1 or -1."""
        return 1.0 if self.mode == "min" else -1.0

    def of_weights(self, metric: str) -> str:
        """The name of a metric, measured with the weights that are compared."""
        return metric if self.weights == "raw" else metric.replace("val_", "val_ema_", 1)


@config_class
class Confirm:
    """Finalists, prior and baseline once more, to the maximum fidelity on fresh seeds."""

    top: int = 0  # finalists besides the prior, >= 0; 0: none is trained again
    seeds: tuple[int, ...] = (1, 2, 3)  # of these runs, each different and not the search's own

    def __post_init__(self) -> None:
        bounded(self, "top", least=0)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds is {list(self.seeds)}; must be different numbers from 0 up")


@config_class
class Budget:
    """When the experiment ends: after ``trials`` trials, or earlier by ``hours`` or ``stop``."""

    trials: int = 32  # configs tried, the prior included, >= 1
    concurrent: int | None = None  # trials at a time, >= 1; null: as many as the resources allow
    hours: float | None = None  # wall-clock hours, > 0; null: no limit
    stop: Literal["advice", "noise"] = "advice"  # noise: ends if more would gain less than noise

    def __post_init__(self) -> None:
        if not 1 <= self.trials <= MOST_TRIALS:
            allowed = "1 or more" if self.trials < 1 else f"{MOST_TRIALS:,} or fewer"
            raise ValueError(f"trials is {self.trials}; must be {allowed}")
        bounded(self, "concurrent", least=1)
        bounded(self, "hours", above=0)


@config_class
class Resources:
    """What one trial gets. A fraction lets trials share a device; nothing isolates their memory."""

    gpu: float = 1.0  # GPUs, >= 0; above 1 a whole number: each takes a part of every batch
    cpu: float = 8.0  # CPU cores, > 0; above 1 a whole number

    @property
    def devices(self) -> float:
        """GPUs of a trial, or CPU cores if it has none: what its hours are counted in."""
        return self.gpu or self.cpu

    @property
    def processes(self) -> int:
        """Processes that train a trial together: one for each whole GPU, at least one."""
        return max(1, int(self.gpu))

    def __post_init__(self) -> None:
        if self.gpu < 0:
            raise ValueError(f"gpu is {self.gpu:g}; must be 0 or more")
        if not self.cpu > 0:
            raise ValueError(f"cpu is {self.cpu:g}; must be above 0")
        for name, value in (("gpu", self.gpu), ("cpu", self.cpu)):
            if value > 1 and value != int(value):
                raise ValueError(f"{name} is {value:g}; above 1 it must be a whole number")
            if 0 < value < SMALLEST_SHARE:
                raise ValueError(f"{name} is {value:g}; must be {SMALLEST_SHARE:g} or more")
            if value > MOST_CORES:
                raise ValueError(f"{name} is {value:g}; must be {MOST_CORES:,} or fewer")


@config_class
class Faults:
    """When a trial counts as hung and a node as broken; the numbers of retries are fixed."""

    hang_after: float | None = 10.0  # epochs without a report, >= 2; null: however many
    hang_minutes: float = 30.0  # minutes without a report that are always allowed, > 0
    node_failures: int | None = 3  # trials failing in a row that drain a node, >= 1; null: never

    def __post_init__(self) -> None:
        if self.hang_after is not None and self.hang_after < 2:
            raise ValueError(f"hang_after is {self.hang_after:g}; must be 2 or more epochs' time")
        if not self.hang_minutes > 0:
            raise ValueError(f"hang_minutes is {self.hang_minutes:g}; must be above 0")
        bounded(self, "node_failures", least=1)


@config_class
class Sections:
    """All of them, as they stand in a file; each may be left out."""

    fidelity: Fidelity = field(default_factory=Fidelity)
    objective: Objective = field(default_factory=Objective)
    scheduler: Annotated[SchedulerSection, OneOf(SCHEDULERS, "promote", FORMER)] = field(
        default_factory=lambda: SCHEDULERS["promote"]()
    )
    searcher: Annotated[SearcherSection, OneOf(SEARCHERS, "tpe")] = field(
        default_factory=lambda: SEARCHERS["tpe"]()
    )
    budget: Budget = field(default_factory=Budget)
    resources: Resources = field(default_factory=Resources)
    faults: Faults = field(default_factory=Faults)
    confirm: Confirm = field(default_factory=Confirm)
