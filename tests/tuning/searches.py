"""A small search space and trials as a ledger would have them, for the tests of what is shown."""

from __future__ import annotations

import textwrap
from pathlib import Path

from tuning.ledger.records import ExperimentInfo, TrialRecord
from tuning.results.outcome import ExperimentResult
from tuning.spaces.loading import load_space
from tuning.spaces.space import SearchSpace

SPACE = """
# Does the learning rate matter?
base:
  model: {name: hpcm_base}
  data: {train: flickr2w, val: kodak, batch_size: 16}
parameters:
  optimizer.name: {type: categorical, choices: [adam, cautious_adam], prior: adam}
  optimizer.lr:   {type: float, low: 1.0e-5, high: 1.0e-2, log: true, prior: 1.0e-4}
  balancer.name:  {type: categorical, choices: [sum, famo], prior: sum}
  balancer.gamma: {type: float, low: 1.0e-5, high: 3.0e-2, log: true, prior: 3.0e-3,
                   when: {balancer.name: famo}}
fidelity: {min: 1, max: 9, schedule_horizon: 3000}
budget: {trials: 4, concurrent: 2}
scheduler: {pilots: 0}
searcher: {startup_trials: 2}
profiles:
  laptop:
    base:
      model: {name: hpcm_tiny}
      data: {train: sample, val: sample_val, batch_size: 4, crops_per_epoch: 8}
    fidelity: {min: 1, max: 9, schedule_horizon: max}
    resources: {gpu: 0, cpu: 1}
"""


def write_space(folder: Path, name: str = "quick", text: str = SPACE) -> Path:
    """The file of the space, in ``folder``."""
    path = folder / f"{name}.yaml"
    path.write_text(textwrap.dedent(text))
    return path


def make_space(folder: Path, profile: str = "laptop") -> SearchSpace:
    """The space, read from a file in ``folder``."""
    return load_space(write_space(folder), profile)


def report(epoch: int, rd_cost: float, seconds: float = 10.0) -> dict[str, float]:
    """What a trial reports at the end of an epoch."""
    return {
        "epoch": float(epoch),
        "val_rd_cost": rd_cost,
        "val_bpp": rd_cost / 2,
        "val_psnr": 30.0 - rd_cost,
        "train/seconds": seconds,
        "train/loss": 2 * rd_cost,
    }


def make_trials(space: SearchSpace) -> list[TrialRecord]:
    """The prior and a better one, both finished; one stopped at the second rung; one that broke."""
    prior = space.prior()
    other = {"optimizer.name": "adam", "optimizer.lr": 2.5e-4, "balancer.name": "famo"}

    def trial(number: int, params: dict[str, object], epochs: int, at: float) -> TrialRecord:
        reports = [report(epoch, at + 1 / epoch) for epoch in range(1, epochs + 1)]
        return TrialRecord(
            id=f"quick-x-{number:04d}",
            number=number,
            params=params,
            reports=reports,
            seconds=10.0 * epochs,
            cost_hours=10.0 * epochs / 3600,
        )

    trials = [
        trial(0, prior, 9, 1.5),
        trial(1, {**other, "balancer.gamma": 1.0e-3}, 9, 1.2),
        trial(2, {**prior, "optimizer.lr": 9.0e-3}, 3, 4.0),
        trial(3, {**prior, "optimizer.lr": 1.0e-2}, 1, 9.0),
    ]
    trials[0].state = trials[1].state = "finished"
    trials[2].state, trials[2].rung_stopped_at = "stopped", 3
    trials[2].reason = "rd_cost 4.3333 is not among the best third"
    trials[3].state, trials[3].reason = "failed", "diverged: the loss is not finite"
    return trials


def make_info(space: SearchSpace, folder: Path, resumed: bool = False) -> ExperimentInfo:
    """Where the experiment would live."""
    directory = folder / "storage" / "quick-x"
    directory.mkdir(parents=True, exist_ok=True)
    return ExperimentInfo(
        name="quick-x",
        directory=directory,
        space=space,
        resumed=resumed,
        dashboard_url="http://127.0.0.1:8265",
        token_hint="ray get-auth-token",
        address="local",
        resources={"CPU": 2.0},
        study=str(directory / "study.journal"),
    )


def make_result(space: SearchSpace, folder: Path) -> ExperimentResult:
    """A complete experiment of four trials."""
    trials = make_trials(space)
    spent = sum(trial.cost_hours for trial in trials)
    return ExperimentResult(
        info=make_info(space, folder),
        trials=trials,
        best=trials[1],
        prior=trials[0],
        hours_spent=spent,
        hours_full=4 * 90 / 3600,
        counted="4 trials",
        unit="CPU",
        complete=True,
        interrupted=False,
    )
