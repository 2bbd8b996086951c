"""Which profile of a search space is taken, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProfileChoice:
    """A profile and the reason for it, one line."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"
