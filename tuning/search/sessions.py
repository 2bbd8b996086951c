"""How a session of a search begins: what its first event says, and who gets another chance."""

from __future__ import annotations

from typing import Any

from tuning.ledger.events import Opened, Reopened
from tuning.ledger.failures import REFUSED
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.spaces.space import SearchSpace

#: Trials that fail one after the other, with no epoch in between and not by their own numbers: then
#: it is not the trials. Without an end a lost data folder would use up the budget within minutes.
IN_A_ROW = 5


def reference_metrics(space: SearchSpace) -> dict[str, Any]:
    """What an `Opened` event says of the reference curve; nothing if there is none."""
    if not space.reference_lmbdas():
        return {}
    rate, quality = space.compared
    return {"rate": rate, "quality": quality}


def open_session(ledger: Ledger, opened: Opened) -> None:
    """Open a ledger to go on: trials get another chance that it would be wrong to give up.

    Those are trials that failed in a row, once (what made them fail may be mended); the prior, if
    it was refused, always (without it there is no search); and trials that the end of the hours cut
    and no rung.
    """
    reopened = trials_to_reopen(ledger)
    ledger.open(opened)
    for number in reopened:
        ledger.append(Reopened(number))
    for record in ledger.records():
        if record.state == "stopped" and record.rung_stopped_at is None:
            ledger.append(Reopened(record.number))


def trials_to_reopen(ledger: Ledger) -> list[int]:
    """Failed trials that a resume gives another chance."""
    row = ledger.failed_in_a_row if len(ledger.failed_in_a_row) >= IN_A_ROW else ()
    found = [number for number in row if number not in ledger.reopened]
    found += [  # without them there is no score
        run.number
        for run in ledger.reference_runs()
        if run.state == "failed" and not run.diverged and run.number not in ledger.reopened
    ]
    return sorted({*found, *([0] if refused(ledger) is not None else [])})


def refused(ledger: Ledger) -> str | None:
    """Why the prior failed, if its config or its data were refused."""
    prior: TrialRecord | None = ledger.trials.get(0)
    reason = (prior.reason or "") if prior is not None and prior.state == "failed" else ""
    return reason.removeprefix(REFUSED) if reason.startswith(REFUSED) else None
