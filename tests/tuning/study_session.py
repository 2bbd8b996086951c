"""A ledger and the copy of the study that follows it, as one start of a driver has them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from optuna_dashboard._storage_url import get_storage

from tests.tuning.lr_space import METRIC, kill, lr_space, open_ledger
from tuning.ledger.events import Event, Failed, Finished, Proposed, Report, Started
from tuning.ledger.notices import Notices
from tuning.search.optuna_encoder import OptunaEncoder
from tuning.watching.background_writer import BackgroundWriter
from tuning.watching.study_copy import study_copy
from tuning.watching.study_storage import STUDY_FILE, StudyPlace

End = Callable[[int], Event]  # of a trial: what became of it
diverged: End = partial(Failed, reason="diverged: inf", diverged=True)


class Session:
    """Until :meth:`end`; trials are played by hand."""

    def __init__(self, folder: Path, place: StudyPlace | None = None, **sections: Any) -> None:
        self.folder, self.messages = folder, []
        self.encoder = OptunaEncoder(lr_space(folder, **sections))
        self.ledger = open_ledger(folder)
        self.notices = Notices(self.messages.append)
        self._stack = ExitStack()
        place = place or StudyPlace(folder / "rates-x")
        self.copy: BackgroundWriter = self._stack.enter_context(
            study_copy(self.ledger, self.encoder, place, self.notices)
        )

    def propose(self, number: int) -> None:
        self.ledger.append(Proposed(number, params={"optimizer.lr": 1e-4 * (number + 1)}))

    def play(
        self, number: int, epochs: int = 9, end: End | None = Finished, first: int = 1
    ) -> None:
        """Propose where new, report up to ``epochs``, end; None: it runs on."""
        if number not in self.ledger.trials:
            self.propose(number)
        self.ledger.append(Started(number))
        for epoch in range(first, epochs + 1):
            metrics = {"epoch": float(epoch), METRIC: number + 1 / epoch}
            self.ledger.append(Report(number, metrics=metrics))
        if end is not None:
            self.ledger.append(end(number))

    def trials(self) -> list[Any]:
        """The study on disk, opened as optuna-dashboard opens it."""
        assert self.copy.settle(), self.messages
        storage = get_storage(str(self.folder / "rates-x" / STUDY_FILE))
        (study,) = storage.get_all_studies()
        return storage.get_all_trials(study._study_id)

    def catch_up(self) -> None:
        """Wait until an attempt succeeds; one that fails ends `settle` at once."""
        for _ in range(1000):
            if self.copy.settle():
                return
            time.sleep(0.02)
        raise AssertionError(self.messages)

    def end(self) -> None:
        self._stack.close()
        kill(self.ledger)
        self.notices.hand_on()
