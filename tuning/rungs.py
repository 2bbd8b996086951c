"""Rungs of successive halving: who was how good after how many epochs, and what was decided.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), with three rules
that Ray 2.60's version lacks: a score is recorded only when a trial *crosses* a rung, never
back-filled into a lower one; nothing is decided before ``min_peers`` trials have been there; and
the table is on disk before a decision takes effect, so that a resumed search decides as one that
was never killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hpcm.schema import ConfigError, shown

RUNGS_FILE = "rungs.json"


@dataclass(frozen=True)
class Entry:
    """One trial at one rung."""

    trial: int
    score: float  # smaller is better
    keeps: bool  # whether it went on
    rank: int  # 1 is the best of those there at the time, itself included
    peers: int  # trials there at the time, itself included
    control: bool = False  # went on by lot, although it lost


class RungTable:
    """Scores by rung, persisted in ``rungs.json`` of an experiment; read at the first use.

    ``levels``: epochs, ascending, without the maximum fidelity, where nothing is decided.
    A trial goes on where it is among the best ``peers // reduction_factor`` (at least one); equal
    scores rank by trial number. Trials in ``never_stopped`` always go on, and count as peers.
    """

    def __init__(
        self,
        directory: Path,
        levels: Sequence[int],
        reduction_factor: int,
        min_peers: int | None = None,
        never_stopped: frozenset[int] = frozenset({0}),
    ) -> None:
        self.path = directory / RUNGS_FILE
        self.levels = tuple(levels)
        self.reduction_factor = reduction_factor
        self.min_peers = reduction_factor if min_peers is None else min_peers
        self.never_stopped = never_stopped
        self._entries: dict[int, dict[int, Entry]] | None = None  # by level, by trial

    def check(self) -> None:
        """Raise :class:`ConfigError` where what is on disk is damaged."""
        self._table()

    def crossed(self, before: int, epoch: int) -> int | None:
        """The highest rung above ``before`` and not above ``epoch``; None where there is none."""
        return max((level for level in self.levels if before < level <= epoch), default=None)

    def enter(self, level: int, trial: int, score: float) -> Entry:
        """Record ``trial`` at ``level`` and decide; the table is on disk when this returns.

        A trial that was there before (it repeats epochs after a crash) gets its decision again.
        """
        there = self._table()[level]
        if trial in there:
            return there[trial]
        entry = self._place(level, trial, score)
        room = max(1, entry.peers // self.reduction_factor)
        free = trial in self.never_stopped or entry.peers < self.min_peers
        there[trial] = replace(entry, keeps=free or entry.rank <= room)
        self._save()
        return there[trial]

    def at(self, level: int) -> list[Entry]:
        """The trials that were at ``level``, best first."""
        return sorted(self._table()[level].values(), key=lambda e: (e.score, e.trial))

    def _place(self, level: int, trial: int, score: float) -> Entry:
        """Where a newcomer stands among those at ``level``; nothing is decided or kept."""
        there = self._table()[level].values()
        better = sum((entry.score, entry.trial) < (score, trial) for entry in there)
        return Entry(trial, score, keeps=False, rank=better + 1, peers=len(there) + 1)

    def _table(self) -> dict[int, dict[int, Entry]]:
        if self._entries is None:
            self._entries = {level: {} for level in self.levels}
            if self.path.exists():
                self._entries |= self._read()
        return self._entries

    def _read(self) -> dict[int, dict[int, Entry]]:
        try:
            plain = json.loads(self.path.read_text())
            found = {level: [Entry(**entry) for entry in there] for level, there in plain.items()}
            return {int(level): {e.trial: e for e in there} for level, there in found.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"{self.path}: damaged: {shown(str(error))}") from None

    def _save(self) -> None:
        plain = {
            str(level): [asdict(entry) for entry in there.values()]
            for level, there in self._table().items()
        }
        write_atomically(self.path, json.dumps(plain).encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path``: after a crash it holds the old content or the new, never a part."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
