"""The runs on fresh seeds in words: for the summary, `status` and an export's header."""

from __future__ import annotations

from tuning.ledger.records import TrialRecord
from tuning.results.confirm import Confirmation, Finalist, Spread
from tuning.spaces.wording import (
    ABSENT,
    PLACES,
    UNITS,
    columns,
    count_text,
    metric_name,
    metric_text,
    size_text,
)


def confirm_lines(found: Confirmation) -> list[str]:
    """Mean, spread and the difference to the prior of each finalist, and who is the best."""
    metric, seeds = found.space.objective.score, ", ".join(map(str, found.space.confirm.seeds))
    prior = found.finalists[0]
    rows: list[tuple[str, ...]] = [("", "n", "mean", "sd", "to the prior, by seed: mean", "sd")]
    for finalist in found.finalists:
        against = None if finalist is prior else finalist.difference(prior, metric)
        name = trial_name(finalist.trial)
        spread = finalist.spread(metric)
        failed = f"{count_text(finalist.failed, 'run')} failed" if finalist.failed else ""
        rows.append(
            (
                name,
                str(len(finalist.runs)),
                metric_text(metric, spread.mean if spread else None),
                _deviation(metric, spread),
                _difference(metric, against, prior.spread(metric)),
                _deviation(metric, against),
                failed,
            )
        )
    title = f"confirmed on seeds {seeds}: {metric_name(metric)} at epoch {found.space.fidelity.max}"
    return [title, *columns(rows), _verdict(found)]


def trial_name(trial: TrialRecord) -> str:
    """How a trial is called among finalists."""
    if trial.role == "reference":
        return "baseline"
    return "prior" if trial.is_prior else f"trial {trial.number}"


def confirmed_text(found: Confirmation, finalist: Finalist) -> str:
    """One line on the confirmed best, for the header of an export."""
    metric = found.space.objective.score
    spread, against = finalist.spread(metric), finalist.difference(found.finalists[0], metric)
    assert spread is not None
    text = (
        f"{metric_name(metric)} {metric_text(metric, spread.mean)}, sd"
        f" {_deviation(metric, spread)}, over {count_text(len(spread.values), 'fresh seed')}"
    )
    if against is None or finalist.trial.is_prior:
        return text
    reference = found.finalists[0].spread(metric)
    return (
        f"{text}; to the prior {_difference(metric, against, reference)}, sd"
        f" {_deviation(metric, against)}"
    )


def _verdict(found: Confirmation) -> str:
    if not found.complete:
        return f"not confirmed yet: {count_text(found.left, 'run')} to go"
    if found.best is None and found.failures:
        failed = count_text(len(found.failures), "run")
        return f"none is confirmed: {failed} failed; a --resume tries them once more"
    if found.best is None:
        return "none is confirmed: runs did not come to the end, or miss the constraints"
    name = trial_name(found.best.trial)
    return f"best by mean: {name}"


def _deviation(metric: str, spread: Spread | None) -> str:
    return size_text(metric, spread.deviation if spread else None, unit=False)


def _difference(metric: str, against: Spread | None, reference: Spread | None) -> str:
    """The mean difference with its sign, and as a share of the prior's mean."""
    if against is None or reference is None:
        return ABSENT
    text = f"{against.mean:+.{PLACES.get(metric, 4)}f}"
    share = 100 * against.mean / reference.mean if reference.mean > 0 else None
    relative = metric not in UNITS and share is not None
    return f"{text} ({share:+.2f} %)" if relative else text
