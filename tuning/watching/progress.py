"""What happened between two looks at an experiment's trials, one plain line per event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tuning.ledger.records import TrialRecord
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import metric_name, metric_text, params_text

NOT_RUNNING = ("pending", "waiting")
SHOWN_METRICS = ("val_bpp", "val_psnr")  # besides the objective


@dataclass
class Progress:
    """Remembers what was shown, so that every event is shown once."""

    space: SearchSpace
    _shown: dict[str, tuple[str, int, int]] = field(default_factory=dict)  # state, epochs, retries

    def skip(self, trials: Sequence[TrialRecord]) -> None:
        """Take everything up to now as shown: what a resumed experiment did before."""
        self._shown = {trial.id: _stand(trial) for trial in trials}

    def lines(self, trials: Sequence[TrialRecord]) -> Iterator[str]:
        """The events since the last call, trial by trial."""
        for trial in trials:
            before, now = self._shown.get(trial.id, ("pending", 0, 0)), _stand(trial)
            if before == now:
                continue
            self._shown[trial.id] = now
            for text in self._events(trial, *before):
                yield f"trial {trial.number:3d}  {text}"

    def _events(self, trial: TrialRecord, state: str, epochs: int, retries: int) -> Iterator[str]:
        if trial.retries > retries:
            yield f"crashed   retry {trial.retries}: {trial.reason or 'no reason recorded'}"
        runs = trial.state == "running" or trial.epochs > epochs
        if state in NOT_RUNNING and trial.state != "pending" and (runs or state == "pending"):
            text = f"continued from epoch {epochs}"
            yield text if epochs else f"started   {tries_text(trial, self.space)}"
        for report in trial.reports:
            if report["epoch"] > epochs:
                yield f"reported  {self._report_text(report)}"
        if trial.paused and (state, epochs) != ("waiting", trial.epochs):
            yield f"waiting   {trial.reason}"
        if trial.ended and trial.state != state:
            yield f"{trial.state:<8}  {ended_text(trial, self.space.rungs())}"

    def _report_text(self, report: Mapping[str, float]) -> str:
        last_rung = self.space.rungs()[-1]
        shown = dict.fromkeys((self.space.objective.score, *SHOWN_METRICS))
        numbers = [
            f"{metric_name(name)} {metric_text(name, report[name])}"
            for name in shown
            if name in report
        ]
        width = len(str(last_rung))
        return "  ".join([f"epoch {int(report['epoch']):{width}d}/{last_rung}", *numbers])


def tries_text(trial: TrialRecord, space: SearchSpace) -> str:
    """What the trial tries: its differences from the prior, or that it is the prior."""
    if trial.role == "reference":
        return f"reference run, lmbda {trial.lmbda:g}"
    if trial.confirms is not None:
        return f"trial {trial.confirms} once more, on seed {trial.seed}"
    if not space.ranks_trials:
        return params_text(space.values(trial.params), {})
    if trial.is_prior:
        return "the prior, the hand-tuned config"
    prior = space.values(space.prior())
    return params_text(space.values(trial.params), prior) or "as the prior"


def ended_text(trial: TrialRecord, rungs: Sequence[int]) -> str:
    """Why nothing more comes: the rung that stopped it, the end, or the failure's reason."""
    if trial.state == "stopped":
        epoch = trial.rung_stopped_at or trial.epochs
        number = f"rung {rungs.index(epoch) + 1} of {len(rungs)}" if epoch in rungs else "a rung"
        why = f": {trial.reason.removesuffix(f' at epoch {epoch}')}" if trial.reason else ""
        return f"at {number}, epoch {epoch}{why}"
    if trial.state == "failed":
        return trial.reason or "no reason recorded"
    return f"all {trial.epochs} epochs"


def _stand(trial: TrialRecord) -> tuple[str, int, int]:
    return trial.status, trial.epochs, trial.retries
