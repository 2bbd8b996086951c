"""A search without Ray whose trials say what the drills' trainings say, and save in memory.

A thousand deaths of its driver take seconds; see :class:`tests.tuning.plays.Searched`.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.drills.fake_training import score
from tests.drills.search import space_of
from tests.tuning.plays import Searched
from tests.tuning.small_spaces import write
from tuning import load_space
from tuning.search.decisions import Start
from tuning.simulation.drive import Epoch
from tuning.spaces.space import SearchSpace


class Play(Searched):
    """One experiment in ``folder``, of the space that ``content`` is the file of."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        super().__init__(folder, _loaded(json.dumps(content)))
        self.saved: dict[int, int] = {}  # trial to the epoch of its newest checkpoint

    def _begin(self, start: Start) -> Iterator[Epoch]:
        """What a trial's process says, which dies with the driver; it saves at the rungs."""
        number, rate = start.trial, start.params["optimizer.lr"]
        first = self.saved.get(number, 0)
        if first:
            yield Epoch({"epoch": float(first), "val_rd_cost": score(rate, first)}, restored=True)
        for epoch in range(first + 1, self.space.fidelity.max + 1):
            self.trained.append((number, epoch))
            if epoch in self.space.rungs():
                self.saved[number] = epoch
            yield Epoch({"epoch": float(epoch), "val_rd_cost": score(rate, epoch)})


@functools.cache
def _loaded(content: str) -> SearchSpace:
    """The space of this content, read once for all deaths of its driver."""

    def replace(data: dict[str, Any]) -> None:
        data.clear()
        data.update(json.loads(content))

    with tempfile.TemporaryDirectory() as folder:
        return load_space(write(Path(folder), replace, "rates", ""))


def play_content(name: str, trials: int, **sections: Any) -> dict[str, Any]:
    """A space for a play: ``name`` of its scheduler, rates at random, no pilots unless given."""
    content = space_of(None, scheduler={"name": name, "pilots": 0, **sections})
    content["searcher"] = {"name": "random", "seed": 1}
    content["budget"] = {"trials": trials, "concurrent": 1}
    return content
