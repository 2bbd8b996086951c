"""What a study leaves in results/: data, reports, commands, digests, and a page that says it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcm import TrainConfig
from hpcm.evaluation.image_sets import image_set
from hpcm.evaluation.interval import ends_text
from tuning.ledger.provenance import git_commit, versions
from tuning.results.answer import answer_lines
from tuning.results.confirm_text import confirm_lines
from tuning.results.ladder import FOLDER, read_verdict
from tuning.results.ladder_text import bd_lines
from tuning.results.outcome import ExperimentResult
from tuning.results.tables import read_result, trials_table
from tuning.spaces.space import SearchSpace

SETS = {
    "photographs_train": "trained on",
    "photographs_val": "selected on",
    "photographs_judge": "judged on",
}
TUNED_SUM = "tuned_sum"  # the best config of the plain sum
LIMITS = """\
## What this shows, and what it cannot

It shows that the chain works from a folder of photographs to a BD-rate with an interval, and what
it answers for this codec, these photographs and this much training. It ranks no setting for
HPCM-Base: `hpcm_tiny` starts from trained weights and trains on for 144 steps of four crops,
while a full run takes millions, and methods that act over a long run have no time to. The
interval holds images and seeds of the final trainings; it does not hold that another search, with
another seed, might have found another winner. Wallpapers are sharp, clean and few: neither Kodak
nor CLIC.
"""


def write_record(
    folder: Path,
    target: Path,
    results: Sequence[ExperimentResult],
    winner: Mapping[str, Any],
    ladders: Sequence[str],
) -> None:
    """Write ``target`` anew from the experiments in ``folder``; ``ladders`` are some of them."""
    shutil.rmtree(target, ignore_errors=True)
    for result in results:
        own = target / result.info.space.name
        own.mkdir(parents=True)
        runs = [*result.references, *result.trials, *_confirming(result)]
        trials_table(runs, result.info.space).to_csv(own / "trials.csv")
        for name in ("report.html", "best.yaml"):
            shutil.copy(result.info.directory / name, own)
    judged = [_judged(folder, name) for name in ladders]
    for name, verdict in zip(ladders, judged, strict=True):
        own = target / _place(verdict)
        shutil.copytree(folder / name / FOLDER, own)
        shutil.copy(folder / name / "report.html", own)
    configs = [folder / f"{name}.yaml" for name in ("winner", TUNED_SUM)]
    for file in [folder / "commands.txt", *filter(Path.exists, configs)]:
        shutil.copy(file, target)
    facts = _facts(folder, results, winner, ladders)
    (target / "study.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    (target / "README.md").write_text(_page(folder, results, facts, judged), encoding="utf-8")
    _without_machine_paths(target)


def _judged(folder: Path, name: str) -> dict[str, Any]:
    verdict = read_verdict(folder / name)
    assert verdict is not None
    return verdict


def _place(verdict: Mapping[str, Any]) -> str:
    """The folder of a ladder: ladder_against_baseline."""
    return f"ladder_against_{verdict['configs'][0]}"


def _confirming(result: ExperimentResult) -> list[Any]:
    """The runs on fresh seeds."""
    finalists = result.confirmation.finalists if result.confirmation else ()
    return [run for finalist in finalists for run in finalist.runs.values()]


def _facts(
    folder: Path,
    results: Sequence[ExperimentResult],
    winner: Mapping[str, Any],
    ladders: Sequence[str],
) -> dict[str, Any]:
    experiments = [*results, *(read_result(name, str(folder)) for name in ladders)]
    sets = {name: image_set(name) for name in SETS}
    return {
        "winner": dict(winner),
        "config digest": TrainConfig.from_yaml(folder / "winner.yaml").digest,
        "spaces": {one.info.space.name: one.info.space.digest for one in experiments},
        "cpu hours": {one.info.space.name: round(one.hours_spent, 2) for one in experiments},
        "images": {
            name: {"count": images.count, "fingerprint": images.fingerprint}
            for name, images in sets.items()
        },
        "device": _device(),
        "versions": versions(),
        "git commit": git_commit(),
    }


def _device() -> str:
    """The processor, as Linux calls it, and how many cores there are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores"


def _page(
    folder: Path,
    results: Sequence[ExperimentResult],
    facts: Mapping[str, Any],
    judged: Sequence[Mapping[str, Any]],
) -> str:
    winner, verdict = facts["winner"], judged[0]
    lines = [
        "# Study: balancing a tiny codec on photographs",
        "",
        "<!-- Written by `make study`. -->",
        "",
        "Does balancing rate against distortion, for the whole or per scale, save rate at equal",
        "quality against adam with the plain sum? `hpcm_tiny` from the sample weights,"
        f" {verdict['epochs']} epochs.",
        "",
        "## Answer",
        "",
        *_bullets([line for one in judged for line in bd_lines(one)]),
        "",
        f"Winner: trial {winner['trial']} of {winner['experiment']}, mean rate difference"
        f" {winner['mean']:+.2f} % (sd {winner['deviation']:.2f}, n = {len(winner['values'])} fresh"
        f" seeds) on the photographs that select; then trained at"
        f" {len(verdict['lmbdas'])} lmbda and seeds {', '.join(map(str, verdict['seeds']))}.",
        "",
        _learning_rates(folder, results[0].info.space),
    ]
    for one in judged:
        lines += ["", f"![Curves of {' and '.join(one['configs'])}]({_place(one)}/rd.svg)"]
        lines += ["", *_differences(one)]
    for result in results:
        lines += ["", f"## {result.info.space.name}", "", *_bullets(answer_lines(result))]
        if result.confirmation:
            lines += ["", "```", *confirm_lines(result.confirmation), "```"]
    lines += ["", LIMITS, "## Made with", "", *_made_with(facts)]
    return "\n".join(lines) + "\n"


def _learning_rates(folder: Path, space: SearchSpace) -> str:
    """What the searches tuned for the winner, and nobody for the baseline."""
    winner = TrainConfig.from_yaml(folder / "winner.yaml")
    text = (
        f"The winner (`winner`, `balanced`) trains with {_rule(winner)}; the baseline, with"
        f" {_rule(space.reference_config(space.lmbda))}, was not tuned. So what is saved against it"
        " holds what the learning rate brings."
    )
    rival = folder / f"{TUNED_SUM}.yaml"
    if not rival.exists():
        return text
    return (
        f"{text} What balancing brings besides is the difference to `{TUNED_SUM}`, the best config"
        " of the plain sum among those that the two searches confirmed:"
        f" {_rule(TrainConfig.from_yaml(rival))}."
    )


def _rule(cfg: TrainConfig) -> str:
    """Optimizer, learning rate and balancer."""
    plain = cfg.to_plain()
    optimizer, balancer = plain["optimizer"], plain["balancer"]
    return f"{optimizer['name']}, learning rate {optimizer['lr']:.2g}, and {balancer['name']}"


def _differences(verdict: Mapping[str, Any]) -> list[str]:
    """The difference in rate at every lmbda, as a table."""
    lines = [
        "| set | metric | lmbda | quality | rate difference | 95 % |",
        "| --- | --- | --- | ---: | ---: | --- |",
    ]
    for one in verdict["sets"]:
        for metric in one["metrics"]:
            for row in metric["differences"]:
                ends = row["interval"]
                interval = ends_text(ends) if ends else "-"
                lines.append(
                    f"| {one['dataset']} | {metric['metric']} | {row['lmbda']:g} |"
                    f" {row['quality']:.2f} dB | {row['percent']:+.2f} % | {interval} |"
                )
    return lines


def _made_with(facts: Mapping[str, Any]) -> list[str]:
    images = facts["images"]
    hours = ", ".join(f"{name} {value}" for name, value in facts["cpu hours"].items())
    sets = "; ".join(
        f"{role} {name}, {images[name]['count']} images, {images[name]['fingerprint']}"
        for name, role in SETS.items()
    )
    return _bullets(
        [
            "`make study`, whose commands are in commands.txt; photographs and licences:"
            " studies/tiny_photographs/photographs.csv",
            f"{sets}; no photographer in two sets",
            f"{facts['device']}; CPU-hours of training: {hours}",
            f"{', '.join(facts['versions'])}; commit {facts['git commit']}",
            f"config digest of the winner {facts['config digest']}",
        ]
    )


def _bullets(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _without_machine_paths(target: Path) -> None:
    """Paths relative to the project, so that no file tells of this machine."""
    root = f"{Path.cwd()}/"
    for path in target.rglob("*"):
        if path.suffix in (".csv", ".html", ".json", ".md", ".txt", ".yaml"):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(root, "").replace(root[:-1], "."), encoding="utf-8")
