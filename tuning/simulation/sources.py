"""Where a simulation's numbers come from, by what stands before the colon of `--simulate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tuning.simulation.arms import Arms
from tuning.simulation.family import Family
from tuning.simulation.recorded import Recorded
from tuning.spaces.space import SearchSpace


class Source(Protocol):
    """Where simulated trials get their numbers from."""

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> Mapping[str, float]:
        """The metrics of one epoch: the objective's, ``val_bpp`` and whatever a real report has.

        A number that is not finite is a trial that diverged. With `delta_rate` the metrics of
        `SearchSpace.compared` are needed, and a reference run's ``params`` are paths of config
        fields, ``loss.lmbda`` among them.
        """

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        """What the epoch costs, in seconds of one slot."""


class NamedSource(Source, Protocol):
    """A source that a person asked for by name."""

    def text(self) -> str:
        """What its curves are worth, in a sentence."""


#: From the rest of the text and the space to be searched.
SOURCES: dict[str, Callable[[str, SearchSpace], NamedSource]] = {
    "family": Family.from_text,
    "curves": Arms.from_text,
    "experiment": Recorded.from_folder,
}


def read_source(text: str, space: SearchSpace) -> NamedSource:
    """``family:NAME``, ``curves:FILE``, ``curves:FILE:WORKLOAD``, or the folder of an experiment.

    Raises :class:`ConfigError` for what is none, or cannot be replayed over ``space``.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind in SOURCES:
        return SOURCES[kind](rest, space)
    return SOURCES["experiment"](text, space)
