"""`make study`: phase1 and phase3 on photographs, and the winner's ladder; goes on where it ended.

Each step is a command of the project, skipped if its result is there: fetch the photographs, search
phase1, search phase3 (finalists on three fresh seeds), train the better of the two winners and the
baseline at four lmbda, the same against the best config of the plain sum, judge all on photographs
that neither trained nor selected, write results/studies/tiny_photographs/. `--minutes` ends a
sitting: a search is interrupted, and the next `make study` resumes it. `--short` runs the whole
chain with tiny numbers, and shows nothing.

Exit code 0: the study is complete. 130: it goes on with the same command. Others: of what failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hpcm.streams import make_streams_lossless
from studies.tiny_photographs.record import TUNED_SUM, write_record
from tuning.ladders.request import BASELINE_NAME
from tuning.results.confirm import Finalist, Spread
from tuning.results.ladder import read_verdict
from tuning.results.outcome import ExperimentResult
from tuning.results.tables import read_result

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SEARCHES = ("phase1_photographs", "phase3_photographs")
JUDGES = "photographs_judge"
LMBDAS = ("0.0004", "0.0008", "0.0016", "0.0032")  # those of the sample weights
SEEDS = ("4", "5")  # neither the search's own, 0, nor those of the confirmation, 1, 2, 3
INTERRUPTED = 130
SHORT = (
    *("budget.trials=2", "fidelity.min=1", "fidelity.max=2", "searcher.startup_trials=1"),
    *(
        "base.validate_every=1",
        "base.data.crops_per_epoch=4",
        "confirm.top=1",
        "confirm.seeds=[1,2]",
    ),
)


class Stopped(Exception):  # noqa: N818 - an end, not an error
    """The sitting is over: with the exit code of the command that ended it."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Study:
    """Where it runs, and until when."""

    folder: Path  # of the experiments, the winner and the record of commands
    short: bool
    end: float  # of this sitting, seconds since the epoch

    def run(self, *words: str) -> None:
        """One command of the project; kept in commands.txt. Raises :class:`Stopped`."""
        command = [sys.executable, *words]
        text = shlex.join(["python", *words])
        print(f"\n$ {text}", flush=True)
        with (self.folder / "commands.txt").open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC  {text}\n")
        with subprocess.Popen(command, cwd=ROOT) as process:
            try:
                code = process.wait(max(self.end - time.time(), 1.0))
            except subprocess.TimeoutExpired:
                print("the time of this sitting is over; interrupting", flush=True)
                process.terminate()  # a search saves first; a job in the background ignores SIGINT
                process.wait()
                raise Stopped(INTERRUPTED) from None
            except KeyboardInterrupt:  # the terminal has sent it to the command as well
                code = process.wait() or INTERRUPTED
        if code:
            raise Stopped(code)
        if time.time() > self.end:
            raise Stopped(INTERRUPTED)

    def experiment(self, stem: str) -> str | None:
        """The newest experiment of a space in the study's folder."""
        names = [path.parent.name for path in self.folder.glob(f"{stem}-*/experiment.json")]
        return max(names, default=None)

    def result(self, stem: str) -> ExperimentResult | None:
        """What a search has come to."""
        name = self.experiment(stem)
        return read_result(name, str(self.folder)) if name else None


def search(study: Study, name: str) -> ExperimentResult:
    """The whole search, its confirmation included."""
    result = study.result(name)
    if result is None or not result.complete:
        storage = ("--storage", str(study.folder))
        if result is None:
            sizes = ("--set", *SHORT) if study.short else ()
            space = HERE.relative_to(ROOT) / f"{name}.yaml"
            study.run("tune.py", "--space", str(space), "--profile", "laptop", *storage, *sizes)
        else:
            study.run("tune.py", "--resume", result.info.name, *storage)
        result = study.result(name)
    assert result is not None
    return result


def choose(study: Study, results: list[ExperimentResult]) -> dict[str, object]:
    """The config with the lowest mean rate difference over the fresh seeds, and how it was found.

    The photographs that judge have no part in it. Writes ``winner.yaml`` and ``winner.json``; if
    the winner balances, also ``tuned_sum.yaml``, the best config of the plain sum.
    """
    found = sorted(_finalists(results), key=lambda one: one[2].mean)
    if not found:
        raise SystemExit("no search has a config with a score on every fresh seed: no winner")
    result, finalist, spread = found[0]
    winner = {
        "experiment": result.info.name,
        "trial": finalist.trial.number,
        "mean": spread.mean,
        "deviation": spread.deviation,
        "values": list(spread.values),
        "seeds": list(finalist.runs),
    }
    config = (result.info.directory / "best.yaml").read_text(encoding="utf-8")
    (study.folder / "winner.yaml").write_text(config, encoding="utf-8")
    (study.folder / "winner.json").write_text(json.dumps(winner, indent=1), encoding="utf-8")
    configs = [result.info.space.config(finalist.trial.params) for result, finalist, _ in found]
    sums = [config for config in configs if config.balancer.name == "sum"]
    if sums and sums[0] is not configs[0]:
        sums[0].to_yaml(study.folder / f"{TUNED_SUM}.yaml")
    return winner


def _finalists(
    results: list[ExperimentResult],
) -> Iterator[tuple[ExperimentResult, Finalist, Spread]]:
    """Those that have a score on every fresh seed."""
    for result in results:
        for finalist in result.confirmation.ranked if result.confirmation else ():
            if spread := finalist.spread(result.info.space.objective.score):
                yield result, finalist, spread


def ladder(study: Study, stem: str, against: str) -> str:
    """A config and what it is compared with, at four lmbda on fresh seeds, judged; its experiment.

    ``stem``: of the config's file; ``against``: baseline, or the stem of another file.
    """
    name = study.experiment(f"{stem}-ladder")
    storage = ("--storage", str(study.folder))
    if name is None:
        seeds = SEEDS[:1] if study.short else SEEDS
        other = against if against == BASELINE_NAME else str(study.folder / f"{against}.yaml")
        words = ["ladder", str(study.folder / f"{stem}.yaml"), "--against", other]
        words += ["--lmbdas", *LMBDAS, "--seeds", *seeds, "--start-from", "sample"]
        words += ["--images", JUDGES, "--profile", "laptop", *storage]
        study.run("-m", "tuning", *words)
    elif read_verdict(study.folder / name) is None:
        study.run("-m", "tuning", "ladder", "--resume", name, *storage)
    name = study.experiment(f"{stem}-ladder")
    assert name is not None
    return name


def ladders(study: Study) -> list[str]:
    """The winner against the baseline, and against the tuned plain sum if the winner balances."""
    names = [ladder(study, "winner", BASELINE_NAME)]
    if (study.folder / f"{TUNED_SUM}.yaml").exists():
        shutil.copy(study.folder / "winner.yaml", study.folder / "balanced.yaml")
        names.append(ladder(study, "balanced", TUNED_SUM))
    return names


def follow(study: Study, target: Path) -> None:
    """All steps, each if its result is not there; then ``target``. Raises :class:`Stopped`."""
    study.folder.mkdir(parents=True, exist_ok=True)
    study.run("studies/tiny_photographs/photographs.py")
    results = [search(study, name) for name in SEARCHES]
    winner = choose(study, results)
    names = ladders(study)
    for one in [*(result.info.name for result in results), *names]:
        study.run("-m", "tuning", "report", one, "--storage", str(study.folder))
    write_record(study.folder, target, results, winner, names)
    print(f"written {target}")


def main() -> int:
    """The command line; see the module."""
    make_streams_lossless()
    parser = argparse.ArgumentParser(prog="study.py", description="make study; see its module.")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of this sitting")
    parser.add_argument("--short", action="store_true", help="tiny numbers: does the chain run?")
    flags = parser.parse_args()
    os.chdir(ROOT)
    name = HERE.name + ("_short" if flags.short else "")
    folder = Path("runs/studies") / name
    target = folder / "results" if flags.short else Path("results/studies") / name
    try:
        follow(Study(folder, flags.short, time.time() + 60 * flags.minutes), target)
    except Stopped as stopped:
        if stopped.code == INTERRUPTED:
            print("the study is not complete; the same command goes on", flush=True)
        return stopped.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
