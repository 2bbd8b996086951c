"""A ladder's verdict in words: what terminal, `status`, page and report say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpcm.evaluation.interval import doubt, ends_text
from hpcm.evaluation.rate_difference import TITLE, row_text
from hpcm.schema import ConfigError
from tuning.ledger.folders import command_text
from tuning.results.ladder import read_verdict
from tuning.results.outcome import ExperimentResult
from tuning.spaces.draws import total_trials
from tuning.spaces.wording import count_text

NAMES = {"psnr": "PSNR", "ms_ssim_db": "MS-SSIM"}


def bd_text(metric: Mapping[str, Any]) -> str:
    """The BD-rate, its interval, and whether that holds 0."""
    if metric["bd_rate"] is None:
        return f"no BD-rate, {metric['refused']}"
    ends = metric["interval"]
    return f"BD-rate {metric['bd_rate']:+.2f} %{f' {ends_text(ends)}' if ends else ''}{doubt(ends)}"


def bd_lines(verdict: Mapping[str, Any]) -> list[str]:
    """A line for every BD-rate: of each set in each metric, then of the means over sets."""
    rows = [(one["dataset"], metric) for one in verdict["sets"] for metric in one["metrics"]]
    rows += [(f"mean of {mean['dataset']}", mean) for mean in verdict["means"]]
    return [_bd_line(dataset, metric) for dataset, metric in rows]


def ladder_lines(result: ExperimentResult) -> list[str]:
    """The verdict of a ladder, or what is missing until there is one."""
    directory, runs = result.info.directory, result.trials
    try:
        verdict = read_verdict(directory)
    except ConfigError as error:
        return [str(error)]
    if verdict is not None:
        return verdict_lines(verdict)
    finished = sum(run.state == "finished" for run in runs)
    total = total_trials(result.info.space)
    missing = f"no BD-rate yet: {finished} of {count_text(total, 'run')} have finished"
    if finished < total:
        return [f"{missing}; runs are scored once all have ended"]
    resume = command_text(f"{result.info.space.command} --resume", directory)
    return [f"{missing} and none is scored; {resume} scores them"]


def verdict_lines(verdict: Mapping[str, Any]) -> list[str]:
    """Every BD-rate with what its interval rests on, and the difference at every lmbda.

    And which runs are in no curve.
    """
    lines = []
    for one in verdict["sets"]:
        for metric in one["metrics"]:
            lines += [_bd_line(one["dataset"], metric), *_details(metric)]
        if not one["curves"]:
            lines.append(f"{one['folder']}: no lmbda has a scored run of every config and seed")
        lines += [f"{one['folder']}: not in the curve: {text}" for text in one["left_out"]]
    return [*lines, *(_bd_line(f"mean of {m['dataset']}", m) for m in verdict["means"])]


def _bd_line(dataset: str, metric: Mapping[str, Any]) -> str:
    names = f"{metric['test']} against {metric['anchor']}, {NAMES[metric['metric']]}"
    return f"{dataset}: {names}: {bd_text(metric)}"


def _details(metric: Mapping[str, Any]) -> list[str]:
    if metric["bd_rate"] is None:
        lines = [f"to do: {metric['advice']}"]
    elif metric["interval"]:
        lines = [f"the 95 % interval is over {metric['basis']}"]
    else:
        lines = [f"no interval: {metric['no_interval']}"]
    rows = [
        f"  {row['label']}: "
        + row_text(row["percent"], row["quality"], row["interval"], row["extended"])
        for row in metric["differences"]
    ]
    more = [metric["sign_change"]] if metric["sign_change"] else []
    return [f"  {line}" for line in (*lines, *([f"{TITLE}:", *rows] if rows else []), *more)]
