"""The decisions of a search, recomputed from the reports in its ledger: a slow twin of the rungs.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", Algorithm 2 (`promote`) and
its stopping kind (`asha`), written from their definition and from nothing in `tuning`. Everything
is recomputed from all scores at every step; the ledger's lines are read in order, of all sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]


@dataclass
class Twin:
    """What is known after some lines. ``rungs``: with the maximum fidelity at the end."""

    rungs: tuple[int, ...]
    factor: int
    promotes: bool
    metric: str = "val_rd_cost"
    scores: dict[int, dict[int, float]] = field(default_factory=dict)  # by rung, by trial
    curves: dict[int, dict[int, float]] = field(default_factory=dict)  # by trial, by epoch
    goes: dict[tuple[int, int], bool] = field(default_factory=dict)  # by rung and trial
    promoted: list[tuple[int, int]] = field(default_factory=list)  # rung and trial, in order
    ended: dict[int, str] = field(default_factory=dict)

    def read(self, event: Event) -> None:
        """Follow one line; raises AssertionError where it does not follow from those before."""
        trial = event.get("trial", -1)
        match event["event"]:
            case "proposed":
                assert trial not in self.curves, f"trial {trial} was proposed twice"
                self.curves[trial] = {}
                assert self.due() is None, f"trial {trial} was proposed before {self.due()}"
            case "report":
                self._report(trial, event["metrics"])
            case "decision":
                self._decision(trial, event)
            case "promoted":
                place = (event["epoch"], trial)
                assert self.due() == place, f"{place} was promoted; due was {self.due()}"
                self.goes[place] = True
                self.promoted.append(place)
            case "paused":
                assert self.promotes, f"trial {trial} waits under a scheduler that stops"
                self._loses(trial)
            case "stopped":
                assert trial not in self.ended, f"trial {trial} ended twice"
                self._loses(trial)
                assert not self.promotes or self.due() is None, f"{self.due()} was never promoted"
                assert event["rung"] == max(self.curves[trial])
                self.ended[trial] = "stopped"
            case "finished":
                assert trial not in self.ended, f"trial {trial} ended twice"
                assert max(self.curves[trial]) == self.rungs[-1]
                self.ended[trial] = "finished"
            case "failed":
                self.ended[trial] = "failed"

    def due(self) -> tuple[int, int] | None:
        """The rung and the trial that has to be promoted before anything new is tried."""
        if not self.promotes:
            return None
        for rung in reversed(self.rungs[:-1]):
            best = sorted(self.scores.get(rung, {}).items(), key=lambda item: (item[1], item[0]))
            for trial, _ in best[: len(best) // self.factor]:
                if not self.goes[rung, trial]:
                    return rung, trial
        return None

    def check_end(self) -> None:
        """A complete search has ended every trial, and decided wherever one stood at a rung."""
        assert set(self.ended) == set(self.curves)
        for trial, curve in self.curves.items():
            assert sorted(curve) == list(range(1, len(curve) + 1)), f"trial {trial}: {curve}"
            for rung in set(curve) & set(self.rungs[:-1]):
                assert (rung, trial) in self.goes, f"nothing was decided on {trial} at {rung}"

    def _report(self, trial: int, metrics: dict[str, float]) -> None:
        epoch, value = int(metrics["epoch"]), metrics[self.metric]
        assert trial not in self.ended, f"trial {trial} goes on after its end"
        curve = self.curves[trial]
        for rung in self.rungs[:-1]:
            if rung < epoch:
                assert self.goes.get((rung, trial)), f"trial {trial} went past epoch {rung}"
        assert curve.get(epoch, value) == value or value != value, "a repeated epoch differs"
        curve[epoch] = value

    def _decision(self, trial: int, event: Event) -> None:
        rung, score = event["epoch"], event["score"]
        assert score == self.curves[trial][rung], f"trial {trial} is judged by another epoch"
        there = self.scores.setdefault(rung, {})
        if trial in there:  # said again after a restart
            found = self.goes[rung, trial]
            assert found == event["keeps"], f"trial {trial} at {rung} was decided anew"
            return
        there[trial] = score
        rank = 1 + sum((value, other) < (score, trial) for other, value in there.items())
        peers = len(there)
        assert (event["rank"], event["peers"]) == (rank, peers), f"{event}: {rank} of {peers}"
        best = rank <= peers // self.factor
        if not self.promotes:
            best = best or rank == 1 or peers < self.factor
        control = bool(event.get("control"))
        assert not (control and (best or trial == 0 or not self.promotes)), "a control that won"
        assert event["keeps"] == (trial == 0 or best or control), f"{event}: wrong"
        self.goes[rung, trial] = bool(event["keeps"])

    def _loses(self, trial: int) -> None:
        rung = max(self.curves[trial])
        assert rung in self.rungs[:-1], f"trial {trial} was cut at epoch {rung}, where no rung is"
        assert self.goes.get((rung, trial)) is False, (
            f"trial {trial} was cut at {rung} although it won"
        )


def follow(events: Sequence[Event], space: Any, complete: bool = True) -> Twin:
    """The twin after the whole ledger of a search in ``space``, all of it recomputed."""
    section = space.scheduler
    twin = Twin(
        space.rungs(), section.reduction_factor, section.name == "promote", space.objective.metric
    )
    for event in events:
        twin.read(event)
    if complete:
        twin.check_end()
    return twin


def story(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    """What was proposed and decided, in order, without what only restarts say again."""
    messages: list[tuple[Any, ...]] = []
    for event in events:
        match event["event"]:
            case "proposed":
                messages.append(("proposed", event["trial"], repr(event["params"])))
            case "decision" | "promoted":
                messages.append((event["event"], event["trial"], event["epoch"], event["rank"]))
            case "finished" | "stopped":
                messages.append((event["event"], event["trial"], event.get("rung")))
    return list(dict.fromkeys(messages))
