"""How the machinery did: what the hours went into, what broke, and where the record is from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hpcm.schema import ConfigError
from tuning.ledger.folders import read_provenance
from tuning.ledger.records import TrialRecord
from tuning.page.live_ledger import LiveLedger
from tuning.results.outcome import ExperimentResult
from tuning.results.replay import replay_cuts
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import count_text, hours_text, value_text

NOT_SHOWN = ("space", "digest_before", "read")  # of the record
SHOWN_COMMIT = 12  # digits: a whole one may be a key, and is hidden
Row = tuple[str, str]


def health_data(
    ledger: LiveLedger, space: SearchSpace, result: ExperimentResult
) -> dict[str, list[Row]]:
    """Rows of name and text: ``cost``, ``trouble`` and ``record``."""
    return {
        "cost": _cost(ledger, result),
        "trouble": _trouble(ledger, space, result),
        "record": _record(ledger, space),
    }


def _cost(ledger: LiveLedger, result: ExperimentResult) -> list[Row]:
    """Where the hours went."""
    total, unit = result.hours_spent, result.unit
    runs = list(ledger.trials.values())
    parts = {
        "trials that came to the end": _of(runs, "search", "finished"),
        "trials that were stopped": _of(runs, "search", "stopped"),
        "trials that failed": _of(runs, "search", "failed"),
        "trials that have not ended": _of(runs, "search", "pending", "running"),
        "reference runs": _of(runs, "reference"),
        "runs on fresh seeds": _of(runs, "confirm"),
    }
    rows = [("spent", hours_text(total, unit))]
    for name, there in parts.items():
        hours = sum(run.cost_hours for run in there)
        if there:
            share = f", {hours / total:.0%} of the hours" if total else ""
            rows.append((name, f"{len(there)}{share}"))
    if result.hours_saved:
        whole = f"{result.hours_saved / result.hours_full:.0%} of training all of them to the end"
        rows.append(("not spent", f"{hours_text(result.hours_saved, unit)} by stopping, {whole}"))
    return [*rows, *_replayed(result)]


def _replayed(result: ExperimentResult) -> list[Row]:
    """What cuts from the first trial on would have saved, and whether they had cost the best."""
    space, best = result.info.space, result.best
    found = replay_cuts(result.trials, result.rungs, space)
    if not found.cuts:
        return []
    share = f" ({found.hours / result.hours_spent:.0%} of what was spent)"
    text = (
        f"cuts at every rung from the first trial on: {count_text(len(found.cuts), 'trial')} more,"
        f" {hours_text(found.hours, result.unit)} less{share if result.hours_spent else ''}"
    )
    if best is not None:
        text += ", the best trial among them" if best.number in found.cuts else ", not the best"
    return [("by replay", text)]


def _of(runs: Sequence[TrialRecord], role: str, *states: str) -> list[TrialRecord]:
    return [run for run in runs if run.role == role and (not states or run.state in states)]


def _trouble(ledger: LiveLedger, space: SearchSpace, result: ExperimentResult) -> list[Row]:
    """What a reader must know before believing the rest."""
    runs = list(ledger.trials.values())
    retried = [run for run in runs if run.retries]
    diverged = [run for run in runs if run.diverged]
    kinds = Counter(run.kind or "the trial's own" for run in runs if run.state == "failed")
    rows = [
        ("sessions", str(ledger.sessions)),
        ("started again", f"{count_text(len(retried), 'trial')} after a failure"),
        ("diverged", count_text(len(diverged), "trial")),
        ("failed", ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "no trial"),
        ("nodes not used any more", str(len(ledger.drained))),
    ]
    rows += [("too few peers", text) for text in _few_peers(ledger, space)]
    unscored = [
        trial
        for trial in result.trials
        if trial.state == "finished" and space.objective.score not in trial.last
    ]
    if unscored and space.ranks_trials:
        listed = ", ".join(str(trial.number) for trial in unscored[:8])
        text = f"{count_text(len(unscored), 'trial')} at the end ({listed}): beyond the curve"
        rows.append(("without a score", text))
    return rows


def _few_peers(ledger: LiveLedger, space: SearchSpace) -> list[str]:
    """Rungs at which a trial was stopped among fewer trials than the rung keeps one of."""
    factor = space.scheduler.reduction_factor
    texts = []
    for rung, entries in sorted(ledger.decisions.items()):
        few = [e for e in entries.values() if not e.keeps and e.peers < factor]
        if few:
            texts.append(
                f"at epoch {rung} {count_text(len(few), 'trial')} lost among fewer than {factor}"
            )
    return texts


def _record(ledger: LiveLedger, space: SearchSpace) -> list[Row]:
    """Versions, digests, host: what is written of where the numbers are from."""
    try:
        facts = read_provenance(ledger.path.parent)
    except ConfigError as error:
        return [("record", str(error))]
    if ledger.opened is not None:
        facts = {**ledger.opened.facts, **facts}
    rows = [
        ("command", _command(facts, space)),
        ("space", f"{space.name}, digest {facts.get('digest', space.digest)}"),
    ]
    rows += _read(facts.get("read", {}), space)
    for key, value in facts.items():
        if key not in (*NOT_SHOWN, "digest", "experiment") and value not in (None, "", [], ()):
            text = str(value)[:SHOWN_COMMIT] if key == "git_commit" else value_text(value)
            rows.append((key.replace("_", " "), text))
    return rows


def _read(read: dict[str, str], space: SearchSpace) -> list[Row]:
    """What told the image sets and weights from others when trials began: cheap, for every node."""
    rows = []
    for name, text in read.items():
        count = space.base.get("data", {}).get("holdout")
        held = f"; {count} of them validate, the others train" if count else ""
        images = name.startswith("image set ")
        rows.append((name, f"{text} (of names and sizes){held}" if images else text))
    return rows


def _command(facts: dict[str, Any], space: SearchSpace) -> str:
    """What starts such an experiment again, as far as the record knows it."""
    if not space.ranks_trials:
        return f"{space.command} {' --against '.join(map(str, facts.get('sources', [])))}"
    sets = " ".join(map(str, facts.get("overrides", [])))
    words = f"{space.command} --space {space.name} --profile {space.profile}"
    return f"{words} --set {sets}" if sets else words
