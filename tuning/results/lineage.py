"""Where the weights of a trial come from, when it became a copy of others on its way (pbt, pb2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tuning.ledger.records import TrialRecord
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import value_text


@dataclass(frozen=True)
class Stretch:
    """Epochs that the weights were trained with one config, by one trial."""

    first: int
    last: int
    trial: int
    params: Mapping[str, Any]  # flat config

    @property
    def epochs(self) -> str:
        """Its epochs in words."""
        if self.first == self.last:
            return f"epoch {self.first}"
        return f"epochs {self.first} to {self.last}"


def lineage(trials: Sequence[TrialRecord], record: TrialRecord) -> list[Stretch]:
    """The stretches of a trial's weights, ascending; one if it was never a copy."""
    by_number = {trial.number: trial for trial in trials}
    found: list[Stretch] = []
    end = record.epochs
    while True:
        copied = [exploit for exploit in record.exploits if exploit.epoch < end]
        first = copied[-1].epoch + 1 if copied else 1
        found.append(Stretch(first, end, record.number, record.params_at(end)))
        if not copied:
            return found[::-1]
        end, record = copied[-1].epoch, by_number[copied[-1].donor]


def history_lines(space: SearchSpace, stretches: Sequence[Stretch]) -> list[str]:
    """Which values changed on the way, a line per stretch; nothing if none did."""
    values = [space.values(stretch.params) for stretch in stretches]
    moved = [
        path
        for path in space.parameters
        if any(one.get(path) != other.get(path) for one, other in pairwise(values))
    ]
    return [
        f"{stretch.epochs}, as trial {stretch.trial}: "
        + ", ".join(f"{path} {value_text(found[path])}" for path in moved if path in found)
        for stretch, found in zip(stretches, values, strict=True)
        if moved
    ]
