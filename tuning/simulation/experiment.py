"""`tune.py --simulate`: an experiment in a folder of its own, searched against a source of curves.

Folder, status and page are those of a search that trains; each says that nothing was trained.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpcm.schema import ConfigError
from tuning.ledger.folders import new_name, storage_folder, write_experiment
from tuning.ledger.ledger import Ledger
from tuning.results.outcome import ExperimentResult
from tuning.search import warm_start
from tuning.simulation.simulate import simulate_in
from tuning.simulation.sources import read_source
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import clock_text, count_text


def simulate_experiment(
    space: SearchSpace,
    text: str,
    *,
    storage: str,
    slots: int | None = None,
    provenance: dict[str, Any] | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> ExperimentResult:
    """Search ``space`` on the source that ``text`` names, into a new folder under ``storage``.

    ``slots``: trials at a time; None: `budget.concurrent`. ``notify`` hears what a person should
    know, at the end what the simulation took. Raises :class:`ConfigError` for what a user can mend;
    then there is no folder.
    """
    slots = _slots(space, slots)
    source = read_source(text, space)
    folder = storage_folder(storage)
    directory = folder / new_name(space, folder)
    earlier = warm_start.gather(space, folder, directory)
    try:
        write_experiment(directory, space, experiment=directory.name, **(provenance or {}))
        warm_start.freeze(directory, earlier)
        result = simulate_in(
            directory,
            space,
            source,
            slots=slots,
            seed=space.searcher.seed,
            name=text,
            began=time.time(),
            notify=notify,
        )
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    notify(source.text())
    notify(_took(result, directory, slots))
    return result


def _slots(space: SearchSpace, asked: int | None) -> int:
    found = space.budget.concurrent if asked is None else asked
    if found is None:
        raise ConfigError("--slots: missing; budget.concurrent is null, so give trials at a time")
    if found < 1:
        raise ConfigError(f"--slots {found}: must be 1 or more trials at a time")
    return found


def _took(result: ExperimentResult, directory: Path, slots: int) -> str:
    """Simulated time, and how much of the slots it used."""
    space = result.info.space
    seconds = Ledger(directory, devices=space.resources.devices).seconds
    busy = 3600 * result.hours_spent / space.resources.devices
    share = 100 * busy / (slots * seconds) if seconds else 0.0
    return (
        f"simulated {clock_text(seconds)} of {count_text(slots, 'slot')}, which trained for"
        f" {share:.0f} % of it"
    )
