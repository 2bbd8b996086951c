"""Which steps are taken: decided on the device in each step, read by the host now and then.

A non-finite loss or task weight ends the run as :class:`Diverged`. If only the gradient norm is not
finite, the step is skipped, as in the published recipe, and the run ends after 10 in a row. What
the host reads late is judged as if it had been read at once: in order, each step by its number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hpcm.losses.diverged import Diverged
from hpcm.optimizers.balancer import Balancer

MAX_SKIPPED_IN_A_ROW = 10  # steps with a non-finite gradient norm before the run counts as diverged


class Verdicts:
    """Verdicts on the steps of a run with tasks ``names``; the host looks every ``every`` steps."""

    def __init__(self, names: tuple[str, ...], balancer: Balancer, every: int) -> None:
        self._names, self._balancer, self._every = names, balancer, every
        self._numbers: list[int] = []  # of steps that the host knows nothing of yet
        self._rows: list[Tensor] = []  # losses (n,), weights (n,), norm of each
        self.taken = self._skipped = self._skipped_in_a_row = 0

    @property
    def at_once(self) -> bool:
        """Whether the host looks at each step before it is taken."""
        return self._every == 1

    def row(self, losses: Tensor, norm: Tensor) -> Tensor:
        """What a step is judged by: losses (n,), norm (), task weights (n,); as one, float64."""
        return torch.cat([losses.double(), norm.double().reshape(1), self._balancer.weights])

    def is_taken(self, row: Tensor) -> Tensor:
        """Whether a step is taken, (): losses and norm are finite. Waits for no device."""
        return row[: len(self._names) + 1].isfinite().all()

    def pass_on(self, number: int, row: Tensor) -> bool:
        """Judge the step ``number`` by its row, now or later; whether it is taken, as far as known.

        Raises :class:`Diverged` if it is time to look.
        """
        self._numbers.append(number)
        self._rows.append(row)
        if len(self._rows) < self._every:
            return True
        before = self._skipped
        self.look()
        return self._skipped == before

    def look(self) -> None:
        """Wait for the device, and judge what it did. Raises :class:`Diverged`."""
        if not self._rows:
            return
        rows = torch.stack(self._rows).tolist()
        numbers, self._numbers, self._rows = self._numbers, [], []
        for number, row in zip(numbers, rows, strict=True):
            self._judge(number, row)

    def read(self) -> tuple[int, int]:
        """How many steps were taken and skipped since the last call. Raises :class:`Diverged`."""
        self.look()
        found = self.taken, self._skipped
        self.taken = self._skipped = 0
        return found

    def _judge(self, number: int, row: list[float]) -> None:
        count = len(self._names)
        losses, norm, weights = row[:count], row[count], row[count + 1 :]
        broken = [
            f"{name} {value}"
            for name, value in zip(self._names, losses, strict=True)
            if not math.isfinite(value)
        ]
        if broken:
            raise Diverged(f"step {number}: the loss is not finite: {', '.join(broken)}")
        if math.isfinite(norm):
            self.taken += 1
            self._skipped_in_a_row = 0
            return
        if not all(map(math.isfinite, weights)):
            balancer = self._balancer  # it explains the step that it saw last
            balancer.losses, balancer.weights = map(balancer.losses.new_tensor, (losses, weights))
            why = balancer.explain()
            raise Diverged(f"step {number}: the task weights are not finite: {why}")
        self._skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise Diverged(
                f"step {number}: {self._skipped_in_a_row} steps in a row had a non-finite gradient"
            )
