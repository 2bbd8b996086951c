"""The section of a search-space file that says when a trial or a node counts as broken."""

from __future__ import annotations

from hpcm.schema import bounded, config_class


@config_class
class Faults:
    """When a trial counts as hung and a node as broken; the numbers of retries are fixed."""

    hang_after: float | None = 10.0  # epochs without a report, >= 2; null: however many
    hang_minutes: float = 30.0  # minutes without a report that are always allowed, > 0
    node_failures: int | None = 3  # trials failing in a row that drain a node, >= 1; null: never

    def __post_init__(self) -> None:
        if self.hang_after is not None and self.hang_after < 2:
            raise ValueError(f"hang_after is {self.hang_after:g}; must be 2 or more epochs' time")
        if not self.hang_minutes > 0:
            raise ValueError(f"hang_minutes is {self.hang_minutes:g}; must be above 0")
        bounded(self, "node_failures", least=1)
