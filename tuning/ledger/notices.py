"""What a person should hear while a search runs and need not act on at once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from tuning.ledger.redaction import redacted

logger = logging.getLogger(__name__)


class Notices:
    """Any thread adds them, the driver's hands them on; without a listener they go to the log."""

    def __init__(self, hear: Callable[[str], None] | None = None) -> None:
        self._hear = hear or logger.warning
        self._waiting: deque[str] = deque()

    def add(self, text: str) -> None:
        """Leave one line, its secrets hidden."""
        self._waiting.append(redacted(text))

    def hand_on(self) -> None:
        """Give the listener everything that was added since the last time."""
        while self._waiting:
            self._hear(self._waiting.popleft())
