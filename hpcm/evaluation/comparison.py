"""A results file against an anchor's: BD-rate, its interval, and the mean over image sets."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpcm.evaluation.bd_rate import (
    BDRateError,
    Curve,
    Method,
    bd_quality,
    bd_rate,
    share_rate,
    shared_quality,
)
from hpcm.evaluation.curves import over_seeds
from hpcm.evaluation.interval import Interval, Points, bootstrap, mean_interval
from hpcm.evaluation.results import Results
from hpcm.evaluation.scores import NoIntervalError, points_of
from hpcm.schema import ConfigError

UNSTEADY = (
    "the curves of more than 5 % of the draws do not rise or do not overlap; more images or seeds, "
    "or points further apart, would give one"
)


@dataclass(frozen=True)
class Comparison:
    """A BD-rate and what it rests on."""

    anchor: str
    test: str
    dataset: str  # of a mean over sets: their names
    metric: str
    method: str
    bd_rate: float  # percent, negative if the test needs less rate
    bd_quality: float | None  # dB gained at equal rate; None if the curves share no rate
    low: float | None  # dB, the range of quality compared; None for a mean over sets
    high: float | None  # dB
    interval: Interval | None = None  # of bd_rate
    no_interval: str = ""  # why there is none


@dataclass(frozen=True)
class Refused:
    """Two curves without a BD-rate, and why."""

    anchor: str
    test: str
    dataset: str
    metric: str
    method: str
    error: BDRateError


def compare(
    anchor: Results, test: Results, metric: str = "psnr", method: Method = "pchip"
) -> Comparison:
    """The BD-rate of ``test`` against ``anchor``, both measured on one image set, with an interval.

    ``metric`` is ``psnr`` or ``ms_ssim_db``. Points of several seeds are averaged first. The
    interval needs values per image in both (:mod:`hpcm.evaluation.interval`). Raises
    :class:`BDRateError` if a curve lacks the metric or :func:`bd_rate` refuses, and
    :class:`ConfigError` if the images differ.
    """
    anchor, test = over_seeds(anchor), over_seeds(test)
    check_same_images(anchor, test)
    one, other = (Curve.of(each.name, *points_of(each, metric)) for each in (anchor, test))
    low, high = shared_quality(one, other)
    found = Comparison(
        anchor=anchor.name,
        test=test.name,
        dataset=test.dataset or anchor.dataset,
        metric=metric,
        method=method,
        bd_rate=bd_rate(one, other, method),
        bd_quality=bd_quality(one, other, method) if share_rate(one, other) else None,
        low=low,
        high=high,
    )

    def statistic(of_anchor: Points, of_test: Points) -> list[float]:
        curves = (Curve.of(anchor.name, *of_anchor), Curve.of(test.name, *of_test))
        return [bd_rate(*curves, method)]

    try:
        (interval,) = bootstrap(anchor, test, metric, statistic, size=1)
    except NoIntervalError as error:
        return replace(found, no_interval=str(error))
    unsteady = "" if interval else UNSTEADY
    return replace(found, interval=interval, no_interval=unsteady)


def compare_or_refuse(
    anchor: Results, test: Results, metric: str, method: Method
) -> Comparison | Refused:
    """:func:`compare`, with the reason in place of the number if there is no BD-rate."""
    try:
        return compare(anchor, test, metric, method)
    except BDRateError as error:
        return Refused(anchor.name, test.name, test.dataset, metric, method, error)


def check_same_images(anchor: Results, test: Results) -> None:
    """Raise :class:`ConfigError` if the two were measured on different images."""
    if anchor.dataset and test.dataset and anchor.dataset != test.dataset:
        raise ConfigError(
            f"{anchor.name} was measured on '{anchor.dataset}', {test.name} on '{test.dataset}'; "
            "take an anchor of the same set"
        )
    prints = [each.conditions.get("fingerprint") for each in (anchor, test)]
    if None not in prints and prints[0] != prints[1]:
        raise ConfigError(
            f"{anchor.name} and {test.name} were both measured on '{test.dataset}', but its files "
            f"differ ({prints[0]} and {prints[1]}); evaluate both on the same files"
        )


def mean_over_sets(rows: Sequence[Comparison]) -> list[Comparison]:
    """One row per test that was compared on several sets: the mean of its BD-rates.

    Its interval draws images of every set and the same seeds for all of them.
    """
    means = []
    for name in dict.fromkeys(row.test for row in rows):
        group = [row for row in rows if row.test == name]
        if len({row.dataset for row in group}) < 2:
            continue
        qualities = [row.bd_quality for row in group if row.bd_quality is not None]
        intervals = [row.interval for row in group if row.interval is not None]
        whole = len(intervals) == len(group)
        means.append(
            Comparison(
                anchor=", ".join(dict.fromkeys(row.anchor for row in group)),
                test=name,
                dataset=", ".join(row.dataset for row in group),
                metric=group[0].metric,
                method=group[0].method,
                bd_rate=statistics.fmean(row.bd_rate for row in group),
                bd_quality=statistics.fmean(qualities) if len(qualities) == len(group) else None,
                low=None,
                high=None,
                interval=mean_interval(intervals) if whole else None,
                no_interval="" if whole else "a set has none",
            )
        )
    return means
