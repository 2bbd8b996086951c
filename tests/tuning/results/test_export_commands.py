"""The commands of an export: what each is read as, and that terminal, header and status agree."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tuning.results.test_export import exported, set_on
from tests.tuning.searches import SPACE, make_result, write_space
from tuning.__main__ import main
from tuning.ladders.arguments import add_arguments
from tuning.ladders.request import new_space
from tuning.ledger.folders import write_experiment
from tuning.results.export import export_best
from tuning.spaces.loading import load_space
from tuning.watching.summary import export_lines


def test_where_the_full_run_is_the_trial_again_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = export_best(exported(tmp_path, monkeypatch, "cluster"))
    assert export.repeat != export.full
    assert export_lines(export)[-6].startswith("repeat the trial")
    same = replace(export, repeat=export.full)
    assert export_lines(same)[1:] == [
        f"train it again, all {export.full_epochs} epochs, the same numbers epoch by epoch:",
        f"  {export.full}",
        "its curve against the baseline, with a BD-rate:",
        f"  {export.ladder}",
    ]


@pytest.mark.parametrize("profile", ["laptop", "cluster"])
def test_the_command_of_the_whole_curve_is_read_as_the_full_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    """As `python -m tuning ladder` reads it; its export is named after the profile."""
    export = export_best(exported(tmp_path, monkeypatch, profile))
    assert export.ladder in export.stored.read_text()
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    space = new_space(parser.parse_args(shlex.split(export.ladder)[4:]), "cluster")
    assert space.lmbdas == (0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.0483)
    assert space.seeds == (1, 2)
    full = set_on(export.config, shlex.split(export.full)[6:])
    flat = {"seed": 1, "loss.lmbda": 0.025, "config": space.names[-1]}
    assert space.config(flat) == replace(full, seed=1, loss=replace(full.loss, lmbda=0.025))


def test_a_proxy_offers_the_ladder_of_its_own_size_before_the_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At four lmbda around its own, from the sample weights if the search started there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tuning.results.export.data_facts", lambda config: [])
    tiny = "model: {name: hpcm_tiny}"
    more = "\n      start_from: sample\n      loss: {lmbda: 0.0016}"
    text = SPACE.replace(tiny, tiny + more)
    space = load_space(write_space(tmp_path, text=text), "laptop")
    result = make_result(space, tmp_path)
    write_experiment(result.info.directory, space)
    export = export_best(result)
    lines = export_lines(export)
    assert export.own_ladder is not None
    own, full = (lines.index(f"  {text}") for text in (export.own_ladder, export.ladder))
    assert own < full
    assert export.own_ladder == (
        "python -m tuning ladder best/quick.laptop.yaml --against baseline"
        " --lmbdas 0.0004 0.0008 0.0016 0.0032 --seeds 1 2 --start-from sample --images YOUR_SET"
        f" --storage {result.info.storage}"
    )
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    ladder = new_space(parser.parse_args(shlex.split(export.own_ladder)[4:]), "laptop")
    flat = {"seed": 2, "loss.lmbda": 0.0016, "config": ladder.names[-1]}
    assert ladder.config(flat) == replace(export.config, seed=2)


def test_where_nothing_is_smaller_there_is_one_ladder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = export_best(exported(tmp_path, monkeypatch, "cluster"))
    assert export.own_ladder is None
    assert sum("tuning ladder" in line for line in export_lines(export)) == 1


def test_status_prints_the_commands_of_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that tune.py printed, word by word."""
    result = exported(tmp_path, monkeypatch, "laptop")
    export = export_best(result)
    monkeypatch.setattr("tuning.results.tables.read_result", lambda *_: result)
    assert main(["status", "quick-x", "--storage", str(result.info.storage)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-len(export.command_lines()) :] == export.command_lines()
