"""Rate-distortion curves as a picture: a row per image set, PSNR and MS-SSIM side by side.

Curves differ in line, marker and lightness, so that a grey print can be read. What makes no curve
is shown as points without a line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from hpcm.evaluation.bd_rate import BDRateError, Curve
from hpcm.evaluation.comparison import Comparison
from hpcm.evaluation.curves import over_seeds
from hpcm.evaluation.results import Results, written
from hpcm.evaluation.scores import METRICS, points_of
from hpcm.extra_packages import require
from hpcm.schema import ConfigError

PLOTS = (".svg", ".pdf", ".png")
TWO_COLUMNS = 30  # characters of the longest name that leave room for two columns of a legend

Role = Literal["beside", "anchor", "test"]  # drawn in this order, the last on top

_LABELS = {"psnr": "PSNR [dB]", "ms_ssim_db": "MS-SSIM [dB]"}
_FILES: Any = {"svg.fonttype": "none", "svg.hashsalt": "hpcm", "pdf.fonttype": 42, "font.size": 9}
_DATES: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
_ANCHOR = {"color": "black", "linestyle": "-", "marker": "s", "linewidth": 1.6}
_TESTS: tuple[dict[str, Any], ...] = (  # dark to light, so that they differ in grey too
    {"color": "#4a148c", "linestyle": "-", "marker": "o"},
    {"color": "#b5283d", "linestyle": "--", "marker": "^"},
    {"color": "#1a7fb5", "linestyle": "-.", "marker": "D"},
    {"color": "#3a9d5d", "linestyle": (0, (1, 1)), "marker": "v"},
    {"color": "#e08a00", "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "P"},
)
_BESIDE = ("-", "--", ":", "-.", (0, (8, 2)), (0, (1, 3)), (0, (5, 1, 1, 1)), (0, (3, 4)))
_MARGIN = 0.06  # of the range of the tests


@dataclass(frozen=True)
class _Line:
    """One curve of a panel: points in order of rate, and how they are drawn."""

    label: str
    bpp: list[float]
    quality: list[float]
    spread: list[float] | None  # dB, standard deviation between seeds
    rises: bool
    role: Role
    style: dict[str, Any]


def save_plot(
    path: Path,
    pairs: Sequence[tuple[Results, Results]],
    more_curves: Sequence[Results] = (),
    found: Sequence[Comparison] = (),
) -> Path:
    """Draw (anchor, test) pairs, and ``more_curves`` in grey on their own sets, into a file.

    The kind of file is the suffix's: .svg, .pdf or .png. BD-rates in ``found`` stand in the legend.
    Raises :class:`ConfigError` for another suffix, if matplotlib is not installed, if nothing can
    be drawn, and if the file cannot be written.
    """
    if path.suffix not in PLOTS:
        raise ConfigError(f"{path}: a plot is written as {', '.join(PLOTS)}")
    matplotlib = require("matplotlib", "matplotlib", "a plot")
    from matplotlib.figure import Figure

    panels = _panels(pairs, more_curves, found)
    if not panels:
        raise ConfigError("no curve has PSNR or MS-SSIM; there is nothing to draw")
    sets = list(dict.fromkeys(dataset for dataset, _ in panels))
    metrics = [metric for metric in METRICS if any(metric == m for _, m in panels)]
    with matplotlib.rc_context(_FILES):
        size = (5.4 * len(metrics) + 0.4, 4.6 * len(sets))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(sets), len(metrics), squeeze=False)
        for row, dataset in enumerate(sets):
            for column, metric in enumerate(metrics):
                _draw(axes[row][column], dataset, metric, panels.get((dataset, metric), []))
        with written(path):
            figure.savefig(path, dpi=160, metadata=_DATES[path.suffix])
    return path


def _panels(
    pairs: Sequence[tuple[Results, Results]],
    more_curves: Sequence[Results],
    found: Sequence[Comparison],
) -> dict[tuple[str, str], list[_Line]]:
    """(set, metric): its curves; what a test lacks gets no panel."""
    panels: dict[tuple[str, str], list[_Line]] = {}
    for dataset in dict.fromkeys(test.dataset for _, test in pairs):
        anchors, tests = zip(*[pair for pair in pairs if pair[1].dataset == dataset], strict=True)
        own = [*anchors, *tests]
        others = [b for b in more_curves if b.dataset == dataset and b not in own]
        for metric in METRICS:
            lines = _lines("test", tests, metric, found, _TESTS)
            if lines:
                grey = [_grey(index, len(others)) for index in range(len(others))]
                panels[dataset, metric] = [
                    *_lines("beside", others, metric, found, grey),
                    *_lines("anchor", anchors[:1], metric, found, [_ANCHOR]),
                    *lines,
                ]
    return panels


def _lines(
    role: Role,
    curves: Sequence[Results],
    metric: str,
    found: Sequence[Comparison],
    styles: Sequence[dict[str, Any]],
) -> list[_Line]:
    lines = []
    for index, curve in enumerate(curves):
        curve = over_seeds(curve)
        try:
            bpp, quality = points_of(curve, metric)
        except BDRateError:
            continue
        usable = [i for i, q in enumerate(quality) if math.isfinite(q) and math.isfinite(bpp[i])]
        order = sorted(usable, key=lambda i: bpp[i])
        lines.append(
            _Line(
                label=f"{curve.name}{_verdict(curve, metric, found)}",
                bpp=[bpp[i] for i in order],
                quality=[quality[i] for i in order],
                spread=_spread(curve, metric, order),
                rises=_rises(curve.name, bpp, quality),
                role=role,
                style=styles[index % len(styles)],
            )
        )
    return lines


def _rises(name: str, bpp: Sequence[float], quality: Sequence[float]) -> bool:
    try:
        Curve.of(name, bpp, quality, least=1)
    except BDRateError:
        return False
    return True


def _spread(curve: Results, metric: str, order: Sequence[int]) -> list[float] | None:
    """The standard deviation between seeds, if the file has it in dB."""
    key = {"psnr": "psnr-rgb", "ms_ssim_db": "ms-ssim-rgb-db"}[metric]
    spread = [point.get("sd", {}).get(key) for point in curve.points]
    whole = len(spread) == len(curve.results["bpp"]) and None not in spread
    return [spread[i] for i in order] if whole else None


def _verdict(curve: Results, metric: str, found: Sequence[Comparison]) -> str:
    for row in found:
        if (row.test, row.dataset, row.metric) == (curve.name, curve.dataset, metric):
            interval = f" {row.interval}" if row.interval else ""
            return f": BD-rate {row.bd_rate:+.2f} %{interval}"
    return ""


def _grey(index: int, count: int) -> dict[str, Any]:
    shade = 0.45 + 0.3 * index / max(count - 1, 1)
    line = _BESIDE[index % len(_BESIDE)]
    return {"color": str(shade), "linestyle": line, "linewidth": 1.1}


def _draw(axes: Any, dataset: str, metric: str, lines: Sequence[_Line]) -> None:
    if not lines:
        axes.set_axis_off()
        return
    for line in lines:
        style = {"markersize": 4.5, "linewidth": 1.6, **line.style}
        style["zorder"] = 2 + get_args(Role).index(line.role)
        label = line.label
        if not line.rises:
            style |= {"linestyle": "none", "marker": style.get("marker", "x"), "fillstyle": "none"}
            label += " (points: quality does not rise)"
        axes.errorbar(
            line.bpp,
            line.quality,
            yerr=line.spread,
            label=label,
            capsize=2,
            elinewidth=0.9,
            **style,
        )
    rates, values = _view(lines)
    axes.set_xlim(*rates)
    axes.set_ylim(*values)
    axes.set_xlabel("rate [bits per pixel]")
    axes.set_ylabel(_LABELS[metric])
    axes.set_title(dataset or "set not named", loc="left", fontweight="bold")
    axes.grid(color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if max(len(label) for label in labels) <= TWO_COLUMNS else 1
    below = {"loc": "upper left", "bbox_to_anchor": (0, -0.13), "ncols": columns}
    axes.legend(handles[::-1], labels[::-1], frameon=False, fontsize=8, **below)


def _view(lines: Sequence[_Line]) -> tuple[tuple[float, float], tuple[float, float]]:
    """The rates and qualities to show: those of the tests, and the anchor's if it would be out."""
    tests = [line for line in lines if line.role == "test"]
    points = [point for line in tests for point in zip(line.bpp, line.quality, strict=True)]
    lowest, highest = min(rate for rate, _ in points), max(rate for rate, _ in points)
    (low, high), (worst, best) = (_range([p[axis] for p in points]) for axis in (0, 1))
    for anchor in (line for line in lines if line.role == "anchor"):
        own = list(zip(anchor.bpp, anchor.quality, strict=True))
        if sum(low <= rate <= high and worst <= value <= best for rate, value in own) < 2:
            points += [point for point in own if lowest / 2 <= point[0] <= 2 * highest]
    return _range([rate for rate, _ in points]), _range([value for _, value in points])


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = _MARGIN * (high - low) or 0.1 * abs(high) or 1
    return low - margin, high + margin
