"""``schedule CONFIG``: what a run's schedules do to its values, as a table or a picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpcm import ConfigError, TrainConfig
from hpcm.extra_packages import require
from hpcm.optimizers.param_groups import PARTS

Table = dict[str, list[float]]

PLOTTED_POINTS = 400


def run(arguments: argparse.Namespace) -> int:
    """Print the table, and draw it if asked to; see the module."""
    cfg = TrainConfig.from_yaml(arguments.config, arguments.set)
    table = schedule_table(cfg, arguments.rows)
    print("  ".join(f"{name:>12}" for name in table))
    for row in zip(*table.values(), strict=True):
        print("  ".join(f"{value:12.6g}" for value in row))
    if _adapts(cfg):
        print("the adaptive gammas also follow the losses, which are not known here")
    if arguments.plot:
        plot(schedule_table(cfg, PLOTTED_POINTS), arguments.plot, arguments.config.stem)
        print(f"written {arguments.plot}")
    return 0


def schedule_table(cfg: TrainConfig, rows: int) -> Table:
    """Columns ``epoch t lr gamma/.. spectral/..`` at up to ``rows`` epochs over the horizon.

    The first and the last that train are among them. ``lr/<part>`` is there for a part of the model
    whose rate differs from the optimizer's; it is 0 while the part is frozen. Values are those of
    the epoch that starts; tau is 2 ** 0.5 or more (every frequency) once there is no truncation,
    delta 0 before the inter-scale term counts.
    """
    end = cfg.schedule_horizon  # t = 1, at which no epoch starts any more
    epochs = sorted({min(round(end * row / (rows - 1)), end - 1) for row in range(rows)})
    found = [_values(cfg, epoch) for epoch in epochs]
    return {name: [values[name] for values in found] for name in _shown(found)}


def plot(table: Table, path: Path, title: str) -> None:
    """Draw every kind of value over the epochs. Raises :class:`ConfigError` if it cannot."""
    require("matplotlib", "matplotlib", "--plot")
    from matplotlib.figure import Figure

    kinds: dict[str, list[str]] = {}
    for name in table:
        if name not in ("epoch", "t"):
            kinds.setdefault(name.split("/")[0], []).append(name)
    figure = Figure(figsize=(8, 2.5 * len(kinds)), layout="constrained")
    axes = figure.subplots(len(kinds), squeeze=False)[:, 0]
    for axis, (kind, names) in zip(axes, kinds.items(), strict=True):
        for name in names:
            axis.plot(table["epoch"], table[name], label=name, drawstyle="steps-post")
        axis.set_ylabel(kind)
        if kind == "lr":
            axis.set_yscale("symlog", linthresh=max(min(v for v in table["lr"] if v > 0), 1e-12))
        axis.legend()
    axes[0].set_title(title)
    axes[-1].set_xlabel("epoch")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--plot {path}: cannot be written: {error}") from None


def _values(cfg: TrainConfig, epoch: int) -> dict[str, float]:
    """All scheduled values of the epoch that starts at ``epoch``."""
    t, length = epoch / cfg.schedule_horizon, 1 / cfg.schedule_horizon
    rate = cfg.optimizer.lr * cfg.lr_schedule.factor(t)
    frozen = cfg.parts.frozen(t)
    parts = {
        f"lr/{part}": 0.0 if part in frozen else rate * getattr(cfg.parts, part).factor(t, length)
        for part in PARTS
    }
    balancer = cfg.balancer.build(cfg.tasks, "cpu")
    balancer.apply(cfg.balancer, t, epoch)
    gammas = {name: value for name, value in balancer.log().items() if name.startswith("gamma/")}
    values = {"epoch": epoch, "t": t, "lr": rate, **parts, **gammas}
    for part in cfg.regularizers.values():
        values |= part.scheduled(t) if part.on else {}
    return values


def _shown(rows: Sequence[dict[str, float]]) -> list[str]:
    """The columns, without those of parts of the model that have the common rate."""
    silent = {
        name
        for name in rows[0]
        if name.startswith("lr/") and all(row[name] == row["lr"] for row in rows)
    }
    return [name for name in rows[0] if name not in silent]


def _adapts(cfg: TrainConfig) -> bool:
    schedule = getattr(cfg.balancer, "gamma_schedule", None)
    return schedule is not None and schedule.adapts
