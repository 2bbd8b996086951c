"""Many trials on many slots, simulated: how much of the slots trains until the last proposal."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

from benchmarks.policy_runs import Case, ours
from benchmarks.search_driver import AT_ONE_LMBDA
from tuning.search.halving import Promote
from tuning.search.random_draws import Random
from tuning.simulation.family import PRESETS, Family
from tuning.spaces.loading import load_space


def measure(trials: int, slots: int) -> dict[str, Any]:
    """By the default scheduler, rungs 1, 3, 9; random draws, for no slot waits for a proposal."""
    sizes = ["fidelity.min=1", "fidelity.max=9", f"budget.trials={trials}"]
    space = load_space("phase3", overrides=[*AT_ONE_LMBDA, *sizes])
    source = Family(space, replace(PRESETS["good"], moves=0.0))
    began = time.process_time()
    trace = ours(Promote(), Random())(Case(space, source, slots, 0, trials=trials))
    seconds = time.process_time() - began
    return {
        "load_before": os.getloadavg()[2],
        "used": trace.used,
        "full_runs": trace.spent,
        "whole": len(trace.whole),
        "cpu_seconds": round(seconds, 1),
        "trials_per_cpu_second": round(trials / seconds, 1),
    }
