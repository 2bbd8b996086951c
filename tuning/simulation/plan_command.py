"""``python -m tuning plan``: read, simulate, print, write."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hpcm.parts import import_text
from hpcm.schema import ConfigError
from tuning.simulation.arms import Arms, read_curves
from tuning.simulation.epoch_time import epoch_time
from tuning.simulation.family import Family
from tuning.simulation.judged import refuse_unjudged
from tuning.simulation.plan import Compute, Forecast, SourceOf, candidates, cheapest, forecasts
from tuning.simulation.plan_overlay import check_overlay, write_overlay
from tuning.simulation.plan_text import plan_lines
from tuning.simulation.recorded import Recorded
from tuning.simulation.sources import Source, read_source
from tuning.spaces.loading import load_space
from tuning.spaces.space import SearchSpace


def run(flags: argparse.Namespace) -> None:
    """Run the command. Raises :class:`ConfigError`; then nothing is written."""
    space = load_space(flags.space, flags.profile, flags.set)
    hours, devices = _asked(flags, space)
    path = check_overlay(flags.write, space, flags.set) if flags.write else None
    sources = [_source(text, space) for text in flags.simulate]
    seconds, whence = _epoch_time(flags, space, sources)
    compute = Compute(
        hours=hours,
        devices=devices,
        epoch_seconds=seconds,
        start_seconds=flags.start_seconds,
    )
    count = len(candidates(space, compute))
    print(f"{space.name}, profile {space.profile}: {count} plans, on {', '.join(flags.simulate)}")
    print(f"an epoch takes {seconds:.3g} s, {whence}\n")
    scaled = [_scaled(make, space, seconds) for make in sources]
    found = forecasts(space, compute, scaled, flags.seeds, _progress())
    print("\n".join(plan_lines(space, found, flags.target, flags.set)))
    if path is not None:
        _write(found, flags.target, path, space)


def _asked(flags: argparse.Namespace, space: SearchSpace) -> tuple[float, float]:
    """Device-hours and devices, of the kind that the space's trials take."""
    kind, other = ("gpu", "cpu") if space.resources.gpu else ("cpu", "gpu")
    for name in (f"{other}_hours", f"{other}s"):
        if getattr(flags, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{flag}: a trial of {space.name}, profile {space.profile}, runs on a"
                f" {kind.upper()}; give {flag.replace(other, kind)}"
            )
    return getattr(flags, f"{kind}_hours"), getattr(flags, f"{kind}s")


def _source(text: str, space: SearchSpace) -> Callable[[int], Source]:
    """Curves by seed: another made-up family, another order of recorded curves, or the same."""
    if text.startswith("curves:"):
        file, _, workload = text.removeprefix("curves:").partition(".npz:")
        found = read_curves(Path(f"{file}.npz" if workload else file).expanduser())
        if workload:
            read_source(text, space)
        names = [workload] if workload else sorted(found)
        return lambda seed: Arms(space, found[names[seed % len(names)]], order=seed)
    made = read_source(text, space)
    refuse_unjudged(made, space)
    if isinstance(made, Family):
        shape = made.shape
        return lambda seed: Family(space, shape, landscape=seed)
    return lambda seed: made


def _epoch_time(
    flags: argparse.Namespace, space: SearchSpace, sources: Sequence[Callable[[int], Source]]
) -> tuple[float, str]:
    """Seconds of the prior's epoch, and where they are from: an experiment knows its own."""
    recorded = next((made for make in sources if isinstance(made := make(0), Recorded)), None)
    if recorded is None or flags.epoch_seconds is not None or flags.bench is not None:
        return epoch_time(space, flags.epoch_seconds, flags.bench)
    return _prior_seconds(recorded, space), f"as in {recorded.name}"


def _prior_seconds(source: Source, space: SearchSpace) -> float:
    return statistics.fmean(source.seconds(space.prior(), epoch) for epoch in space.rungs())


def _scaled(make: Callable[[int], Source], space: SearchSpace, seconds: float) -> SourceOf:
    """The source by seed, and what makes the prior's epoch take ``seconds``."""

    def source(seed: int) -> tuple[Source, float]:
        made = make(seed)
        return made, seconds / _prior_seconds(made, space)

    return source


def _progress() -> Callable[[int, int], None]:
    """A line that counts, if a person looks."""
    if not sys.stderr.isatty():
        return lambda done, of: None

    def show(done: int, of: int) -> None:
        end = "\r" if done < of else "\r\033[K"
        print(f"simulated {done} of {of} searches", end=end, file=sys.stderr, flush=True)

    return show


def _write(found: Sequence[Forecast], target: float | None, path: Path, space: SearchSpace) -> None:
    limit, cheap = cheapest(found, target)
    if cheap is None:
        raise ConfigError(f"--write {path}: no plan comes to {limit:.2f} %; nothing is written")
    text = f"{cheap.excess:.2f} % worse than the best config, by {len(cheap.searches)} simulations"
    write_overlay(path, space, cheap.plan, text)
    print(f"written to {path}: python tune.py --space {path}{import_text()}")
