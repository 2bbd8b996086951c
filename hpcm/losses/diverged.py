"""The one way a run ends because its numbers did, and not because of a mistake in its config."""

from __future__ import annotations


class Diverged(RuntimeError):  # noqa: N818 - the contract's name, an outcome and not a mistake
    """The run cannot recover; ``reason`` says which quantity left which bound."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __reduce__(self) -> tuple[type[Diverged], tuple[str]]:
        return type(self), (self.reason,)
