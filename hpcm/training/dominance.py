"""A warning if one task keeps most of the weight: the others then hardly train."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

HALF = 0.5  # share of all weight
EPOCHS = 10  # in a row, before the warning
FEWEST = 3  # tasks: of two, one always has half


class DominantTaskWarning(UserWarning):
    """One of three tasks or more has had over half of all weight for many epochs."""


class Dominance:
    """Follows the task weights of a run from its start or resume; warns once."""

    def __init__(self) -> None:
        self._task, self._epochs, self._told = "", 0, False

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Take an epoch's ``weights/*``."""
        found = {name[8:]: q for name, q in metrics.items() if name.startswith("weights/")}
        if len(found) < FEWEST:
            return
        task = max(found, key=lambda name: found[name])
        share = found[task] / sum(found.values())
        stays = share > HALF and task == self._task
        self._task, self._epochs = task, self._epochs + 1 if stays else int(share > HALF)
        if self._epochs < EPOCHS or self._told:
            return
        self._told = True
        warnings.warn(
            f"task {task} has had more than half of all weight for {EPOCHS} epochs (now "
            f"{share:.2f}), so the other {len(found) - 1} hardly train; docs/methods.md",
            DominantTaskWarning,
            stacklevel=2,
        )
