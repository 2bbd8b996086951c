"""``compare ANCHOR TEST ..``: BD-rates between results files, with intervals, plot and table."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from hpcm import ConfigError
from hpcm.atomic_files import write_atomically
from hpcm.commands.arguments import check_file
from hpcm.evaluation.bd_rate import BDRateError
from hpcm.evaluation.comparison import Comparison, Refused, compare_or_refuse, mean_over_sets
from hpcm.evaluation.curves import over_seeds
from hpcm.evaluation.interval import doubt
from hpcm.evaluation.rate_difference import TITLE, rate_differences, row_text, sign_change
from hpcm.evaluation.rd_plot import PLOTS, save_plot
from hpcm.evaluation.results import Results, written
from hpcm.evaluation.scores import points_of

COLUMNS = (
    *("anchor", "test", "dataset", "metric", "method", "bd_rate", "bd_rate_low", "bd_rate_high"),
    *("bd_quality", "quality_low", "quality_high", "images", "seeds", "note"),
)


def run(arguments: argparse.Namespace) -> int:
    """Print each test's BD-rate against the anchor of its set; 2 if none has one."""
    _check(arguments)
    anchors = _by_set([Results.load(path) for path in (arguments.anchor, *arguments.anchors)])
    tests = [Results.load(path) for path in arguments.tests]
    more_curves = [Results.load(path) for path in arguments.beside]
    pairs = [(_anchor_of(test, anchors), test) for test in tests]
    rows: list[Comparison | Refused] = []
    for anchor, test in pairs:
        if not rows or rows[-1].dataset != test.dataset:
            print(f"anchor {_described(anchor)}; {arguments.metric}, {arguments.method}")
        rows.append(compare_or_refuse(anchor, test, arguments.metric, arguments.method))
        print(f"{_described(test)}: {_text(rows[-1], anchor, test)}")
        _print_differences(anchor, test, arguments.metric)
    found = [row for row in rows if isinstance(row, Comparison)]
    means = mean_over_sets(found)
    for mean in means:
        print(f"{mean.test} (mean of {mean.dataset}): {_numbers(mean)}")
    if arguments.csv:
        print(f"written {write_csv(arguments.csv, [*rows, *means])}")
    if arguments.plot:
        print(f"written {save_plot(arguments.plot, pairs, more_curves, found)}")
    return 0 if found else 2


def _check(arguments: argparse.Namespace) -> None:
    check_file(arguments.plot, "--plot")
    check_file(arguments.csv, "--csv")
    if arguments.plot and arguments.plot.suffix not in PLOTS:
        raise ConfigError(f"--plot {arguments.plot}: must end in {', '.join(PLOTS)}")
    if arguments.beside and not arguments.plot:
        raise ConfigError("--beside: shows curves in a plot; give --plot FILE too")


def _by_set(anchors: Sequence[Results]) -> dict[str, Results]:
    by_set: dict[str, Results] = {}
    for anchor in anchors:
        if anchor.dataset in by_set:
            raise ConfigError(
                f"--anchors: {by_set[anchor.dataset].name} and {anchor.name} are both of the set "
                f"'{anchor.dataset}'; one anchor per set"
            )
        by_set[anchor.dataset] = anchor
    return by_set


def _anchor_of(test: Results, anchors: dict[str, Results]) -> Results:
    """The anchor of the test's set; the only one if either does not name its set."""
    if test.dataset in anchors:
        return anchors[test.dataset]
    if len(anchors) == 1:
        (anchor,) = anchors.values()
        return anchor  # compare() refuses sets of different names
    raise ConfigError(
        f"{test.name} was measured on '{test.dataset}', and the anchors on "
        f"{', '.join(anchors)}; give an anchor of that set (--anchors)"
    )


def _described(results: Results) -> str:
    """Name, set and kind of rate: what two numbers must share to be comparable."""
    rate = results.conditions.get("rate", "rate of unknown kind")
    return f"{results.name} ({results.dataset or 'set not named'}, {rate})"


def _text(row: Comparison | Refused, anchor: Results, test: Results) -> str:
    if isinstance(row, Comparison):
        return _numbers(row)
    lines = [f"no BD-rate: {row.error.reason}", f"  to do: {row.error.advice}"]
    return "\n".join([*lines, *_points(anchor, row.metric), *_points(test, row.metric)])


def _numbers(row: Comparison) -> str:
    gain = "" if row.bd_quality is None else f"  {row.bd_quality:+.3f} dB"
    span = "" if row.low is None else f"  over {row.low:.2f} to {row.high:.2f} dB"
    if row.interval is None:
        return f"BD-rate {row.bd_rate:+.2f} %{gain}{span}\n  no interval: {row.no_interval}"
    return (
        f"BD-rate {row.bd_rate:+.2f} % {row.interval}{gain}{span}\n"
        f"  95 % interval: {len(row.interval.draws)} draws of {row.interval.basis}"
        f"{doubt(row.interval.ends)}"
    )


def _points(results: Results, metric: str) -> list[str]:
    """A curve, or what should be one, as a line per point; none if it lacks the metric."""
    try:
        points = sorted(zip(*points_of(over_seeds(results), metric), strict=True))
    except BDRateError:
        return []
    best, lines = float("-inf"), [f"  points of {results.name}:"]
    for rate, quality in points:
        mark = "" if quality > best else "  not above the point before"
        best = max(best, quality)
        lines.append(f"  {rate:8.4f} bpp  {quality:8.4f} dB{mark}")
    return lines


def _print_differences(anchor: Results, test: Results, metric: str) -> None:
    """The difference in rate at every lmbda, for curves that say which it is."""
    try:
        found = rate_differences(anchor, test, metric)
    except BDRateError:
        return
    if any(one.lmbda is None for one in found):
        return
    if all(one.percent is None for one in found):
        print(f"  {TITLE}: not known, all points are out of the anchor's reach")
        return
    print(f"  {TITLE}:")
    for one in found:
        ends = one.interval.ends if one.interval else None
        print(f"    {one.label}: {row_text(one.percent, one.quality, ends, one.extended)}")
    if sentence := sign_change(found):
        print(f"  {sentence}")


def write_csv(path: Path, rows: Sequence[Comparison | Refused]) -> Path:
    """A row per BD-rate and mean. Raises :class:`ConfigError` if it cannot be written."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS)
    writer.writeheader()
    writer.writerows(_cells(row) for row in rows)
    with written(path):
        write_atomically(path, table.getvalue().encode())
    return path


def _cells(row: Comparison | Refused) -> dict[str, object]:
    cells = {key: getattr(row, key) for key in COLUMNS if hasattr(row, key)}
    if isinstance(row, Refused):
        return cells | {"note": str(row.error)}
    cells |= {"quality_low": row.low, "quality_high": row.high, "note": row.no_interval}
    if interval := row.interval:
        cells |= {"bd_rate_low": interval.low, "bd_rate_high": interval.high}
        cells |= {"images": interval.images, "seeds": interval.seeds}
    return cells
