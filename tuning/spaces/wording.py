"""Numbers, times and trials as short text: what console, dry run, summary and export share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = {
    "val_rd_cost": "rd_cost",
    "val_bpp": "bpp",
    "val_psnr": "PSNR",
    "val_ms_ssim_db": "MS-SSIM",
    "val_ema_rd_cost": "rd_cost (ema)",
    "val_ema_bpp": "bpp (ema)",
    "val_ema_psnr": "PSNR (ema)",
    "val_ema_ms_ssim_db": "MS-SSIM (ema)",
    "delta_rate": "rate difference",  # to the baseline at equal quality; negative is better
}
UNITS = {
    "val_psnr": " dB",
    "val_ms_ssim_db": " dB",
    "val_ema_psnr": " dB",
    "val_ema_ms_ssim_db": " dB",
    "delta_rate": " %",
}
PLACES = dict.fromkeys(UNITS, 2)
SIGNED = ("delta_rate",)  # a difference: its sign stands before it, also if it is positive
ABSENT = "-"
LABEL = 12  # columns of the labels on the first screen


def metric_name(metric: str) -> str:
    """The short name of a metric: ``val_psnr`` is PSNR."""
    return NAMES.get(metric, metric)


def metric_text(metric: str, value: float | None, unit: bool = True) -> str:
    """A metric's value with its usual decimals and, if it has one, its unit."""
    sign = "+" if metric in SIGNED and value is not None and value >= 0 else ""
    return f"{sign}{size_text(metric, value, unit)}"


def size_text(metric: str, value: float | None, unit: bool = True) -> str:
    """How large a step of a metric is, such as a standard deviation."""
    if value is None:
        return ABSENT
    return f"{value:.{PLACES.get(metric, 4)}f}{UNITS.get(metric, '') if unit else ''}"


def difference_text(metric: str, value: float | None, reference: float | None) -> str:
    """``value - reference`` with its sign; relative too if the metric is no logarithm."""
    if value is None or reference is None:
        return ABSENT
    text = f"{value - reference:+.{PLACES.get(metric, 4)}f}{UNITS.get(metric, '')}"
    relative = not UNITS.get(metric) and reference > 0
    return f"{text} ({100 * (value / reference - 1):+.2f} %)" if relative else text


def value_text(value: Any) -> str:
    """A parameter's value, three significant digits; what is absent as YAML has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {value_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_text(item) for item in value) + "]"
    return str(value)


def params_text(params: Mapping[str, Any], prior: Mapping[str, Any]) -> str:
    """The parameters in which a trial differs from the prior, in order."""
    texts = [f"{path} {value_text(v)}" for path, v in params.items() if prior.get(path) != v]
    return "  ".join(texts)


def clock_text(seconds: float) -> str:
    """``h:mm:ss``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def hours_text(hours: float, unit: str, larger: float | None = None) -> str:
    """``3.2 GPU-hours``; below six minutes GPU-minutes, unless ``larger``, shown too, is above."""
    if 0 < max(hours, larger or 0.0) < 0.1:
        return f"{60 * hours:.1f} {unit}-minutes"
    return f"{hours:.1f} {unit}-hours" if hours < 100 else f"{hours:.0f} {unit}-hours"


def count_text(count: int, noun: str) -> str:
    """``1 trial``, ``3 trials``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def label_line(label: str, text: str) -> str:
    """A line of the first screen."""
    return f"{label:<{LABEL}}{text}"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines whose columns are aligned to the left; short rows may end early."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    return ["  ".join(cell.ljust(widths[i]) for i, cell in enumerate(row)).rstrip() for row in rows]
