"""What an ablation leaves behind: one JSON with every curve, and its tables as Markdown."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from tuning.ablation.runs import BASELINE, EPOCHS, Plan
from tuning.ablation.scores import (
    Row,
    RunCurve,
    by_arm,
    epoch_seconds,
    equal_steps,
    equal_wall_clock,
    rows,
)
from tuning.ledger.provenance import data_facts, git_commit, versions
from tuning.spaces.wording import ABSENT

HEADINGS = "arm | rank | rd_cost, mean | sd | range | to baseline | better | bpp | PSNR | steps"


def conditions(plan: Plan, processes: int, threads: int | None) -> dict[str, Any]:
    """What a reader must know to repeat the numbers."""
    base = plan.config(BASELINE, 0, plan.lr or 1.0)
    return {
        "config_digest": plan.digest,
        "model": base.model.name,
        "lmbda": base.loss.lmbda,
        "batch_size": base.data.batch_size,
        "patch": base.data.patch,
        "steps": plan.steps,
        "n": plan.seeds,
        "device": device_name(),
        "processes": processes,
        "threads_per_process": threads or torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 1),
        "images": [" ".join(fact) for fact in data_facts(base)],
        "versions": versions(),
        "date": date.today().isoformat(),
        "commit": git_commit(),
    }


def device_name() -> str:
    """The GPU's name where training would take it, else the processor's, with its cores."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record; a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(path)


def markdown(record: Mapping[str, Any]) -> str:
    """The two tables of a finished ablation, with the conditions they hold under."""
    runs = [RunCurve.from_plain(run) for run in record["runs"]]
    facts, steps = record["conditions"], record["conditions"]["steps"] // EPOCHS
    same_steps = rows(runs, equal_steps(runs, EPOCHS), BASELINE)
    same_time = rows(runs, equal_wall_clock(runs, EPOCHS), BASELINE)
    parts = [
        f"# Ablation: {record['name']}",
        _told(facts, record["lr"], record.get("sweep")),
        f"## Equal steps ({facts['steps']})",
        _table(same_steps, steps),
        "## Equal wall-clock (when the cheapest arm finishes)",
        _table(same_time, steps),
        "## Cost",
        _cost(runs, steps),
        "## Reading it",
        _reading(same_steps, same_time),
        *_divergences(runs),
    ]
    return "\n\n".join(parts) + "\n"


def _told(facts: Mapping[str, Any], lr: float, sweep: Mapping[str, float | None] | None) -> str:
    n, images, packages = facts["n"], "; ".join(facts["images"]), ", ".join(facts["versions"])
    lines = [
        f"{facts['model']}, {images}; lmbda {facts['lmbda']}, batch {facts['batch_size']}, crops "
        f"of {facts['patch']} pixels; n = {n} seeds, the same for every arm.",
        f"{facts['device']}; {facts['processes']} runs at a time, threads each: "
        f"{facts['threads_per_process']}; load before: {facts['load_before']}.",
        f"{packages}; {facts['date']}; commit {facts['commit']}; config digest "
        f"{facts['config_digest']}.",
        f"Learning rate {lr:g} for all arms, constant. {_chosen(lr, sweep)}",
    ]
    return "\n".join(lines)


def _chosen(lr: float, sweep: Mapping[str, float | None] | None) -> str:
    if not sweep:
        return "It was given, not swept."
    tried = ", ".join(f"{rate}: {_number(score)}" for rate, score in sweep.items())
    edge = lr in (min(map(float, sweep)), max(map(float, sweep)))
    return (
        f"It is the best of a sweep of the baseline ({BASELINE}) with a seed of its own, by "
        f"rd_cost ({tried}){', and lies at its edge' if edge else ''}; the other arms were not "
        "swept. The published 5e-5 hardly moves a model in so few steps."
    )


def _table(table: Sequence[Row], steps: int) -> str:
    heading = HEADINGS.split(" | ")
    lines = ["| " + " | ".join(heading) + " |", "| --- |" + " ---: |" * (len(heading) - 1)]
    return "\n".join(lines + ["| " + " | ".join(_cells(row, steps)) + " |" for row in table])


def _cells(row: Row, steps: int) -> list[str]:
    known = [score for score in row.scores if score is not None]
    bounds = row.range if row.mean is not None else None
    mean = _number(row.mean) if row.mean is not None else f"{len(known)} of {len(row.scores)} ended"
    better = f"{sum(gain < 0 for gain in row.gains)} of {len(row.gains)}" if row.gains else ABSENT
    sd = f" ± {row.gain_sd:.4f}" if row.gain_sd is not None else ""
    return [
        row.arm,
        str(row.rank) if row.mean is not None else ABSENT,
        mean,
        _number(row.sd),
        f"{bounds[0]:.4f} to {bounds[1]:.4f}" if bounds else ABSENT,
        f"{row.gain:+.4f}{sd}" if row.gain is not None else ABSENT,
        better,
        _number(row.bpp),
        f"{row.psnr:.2f} dB" if row.psnr is not None else ABSENT,
        f"{row.epochs * steps:.0f}",
    ]


def _cost(runs: Sequence[RunCurve], steps: int) -> str:
    cost = {arm: epoch_seconds(own) for arm, own in by_arm(runs).items()}
    plain = cost.get(BASELINE)
    lines = ["| arm | seconds per step | to baseline |", "| --- | ---: | ---: |"]
    for arm, seconds in cost.items():
        ratio = f"{seconds / plain:.2f}" if seconds and plain else ABSENT
        lines.append(f"| {arm} | {_number(seconds and seconds / steps)} | {ratio} |")
    told = "Median over epochs and seeds, each epoch's validation included."
    return "\n".join(lines) + f"\n\n{told}"


def _reading(same_steps: Sequence[Row], same_time: Sequence[Row]) -> str:
    lines = [
        "rd_cost is lmbda D + bpp on the validation images, lower is better; `to baseline` is the "
        f"mean over the seeds of the difference to {BASELINE} with the same seed, ± its standard "
        "deviation, and `better` counts the seeds in which it is negative."
    ]
    for name, table in (("equal steps", same_steps), ("equal wall-clock", same_time)):
        lines.append(f"- At {name}: {_verdict(table)}")
    lines.append(
        "- One lmbda and a few hundred steps rank speed at the start of a training. A balancer "
        "also moves the operating point (see bpp and PSNR), so this says nothing about BD-rate."
    )
    return "\n".join(lines)


def _verdict(table: Sequence[Row]) -> str:
    best = table[0]
    if best.mean is None:
        return "no arm ended all its runs."
    if not best.gains:
        return f"{best.arm}, the baseline, is best."
    said = f"{best.arm} is best, {best.gain:+.4f} to the baseline"
    if best.gain_sd is None or best.gain is None:
        return f"{said}, from a single seed: no spread is known."
    clear = "more" if abs(best.gain) > 2 * best.gain_sd else "not more"
    return f"{said}, {clear} than twice the spread of that difference ({best.gain_sd:.4f})."


def _divergences(runs: Sequence[RunCurve]) -> list[str]:
    told = [f"- {run.arm}, seed {run.seed}: {run.diverged}" for run in runs if run.diverged]
    return ["## Diverged\n\n" + "\n".join(told)] if told else []


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4f}"
