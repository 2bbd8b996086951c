"""What a fault cost: epochs that were trained again. Nothing else may be lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tests.drills.fake_training import Trained
from tuning.ledger.records import TrialRecord


def repeated(epochs: Iterable[Trained]) -> Counter[float]:
    """How many epochs of each learning rate were trained more than once."""
    counts = Counter((each.rate, each.epoch) for each in epochs)
    lost: Counter[float] = Counter()
    for (rate, _), count in counts.items():
        lost[rate] += count - 1
    return +lost


def check_nothing_else_lost(
    before: Sequence[TrialRecord],
    after: Sequence[TrialRecord],
    epochs: Sequence[Trained],
    rungs: Sequence[int],
    saved: Mapping[float, int] | None = None,
) -> int:
    """The epochs that were lost between two looks at a search's ledger.

    ``saved``: by learning rate, the last checkpoint of a trial, where it is not that of its rung.

    Raises AssertionError where an ended trial changed, a curve is not the old one continued, or an
    epoch at or before a trial's last checkpoint (it saves at its rungs) was trained again.
    """
    lost = repeated(epochs)
    for old in before:
        new = after[old.number]
        assert new.params == old.params
        rate = old.params["optimizer.lr"]
        if old.ended:
            assert new == old, f"trial {old.number} had ended"
            assert not lost[rate], f"trial {old.number} had ended and was trained again"
            continue
        assert [r["val_rd_cost"] for r in new.reports[: old.epochs]] == [
            r["val_rd_cost"] for r in old.reports
        ]
        at_rung = max((rung for rung in rungs if rung <= old.epochs), default=0)
        since = at_rung if saved is None else saved.get(rate, 0)
        counts = Counter(e.epoch for e in epochs if e.rate == rate)
        # the epoch under way when the fault came may have been trained and not been reported
        again = {epoch for epoch, count in counts.items() if count > 1}
        assert all(since < epoch <= old.epochs + 1 for epoch in again), (
            f"trial {old.number}: {again}"
        )
    assert set(lost) <= {t.params["optimizer.lr"] for t in before}
    return sum(lost.values())
