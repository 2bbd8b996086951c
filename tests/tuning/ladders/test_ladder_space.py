"""A ladder as a space: which runs there are, what may be added, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpcm.config import TrainConfig
from hpcm.schema import ConfigError
from tests.tuning.ladders.small_ladder import LMBDAS, config_file, flags, ladder, trained
from tuning.ladders.request import grown_space, new_space
from tuning.ledger.folders import read_experiment, refuse_changes
from tuning.ledger.ledger import read_trials
from tuning.results.outcome import best_of
from tuning.spaces.draws import combinations, total_trials
from tuning.spaces.ladder_space import LadderSpace, space_from_plain


def test_every_config_at_every_lmbda_and_seed(tmp_path: Path) -> None:
    space = ladder(tmp_path)
    assert len(space.runs()) == total_trials(space) == 2 * len(LMBDAS) * 2
    assert list(combinations(space)) == space.runs()
    configs = [space.config(flat) for flat in space.runs()]
    assert {(c.loss.lmbda, c.seed, c.balancer.name) for c in configs} == {
        (lmbda, seed, name) for lmbda in LMBDAS for seed in (1, 2) for name in ("sum", "famo")
    }
    assert {config.epochs for config in configs} == {2}


def test_the_baseline_is_the_same_run_without_the_treatment(tmp_path: Path) -> None:
    space = ladder(tmp_path)
    baseline, best = (space.config(flat) for flat in space.runs()[:2])
    assert (baseline.optimizer.name, baseline.balancer.name) == ("adam", "sum")
    assert (best.optimizer.name, best.balancer.name) == ("cautious_adam", "famo")
    assert baseline.data == best.data
    assert baseline.start_from == best.start_from == "sample"


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    space = ladder(tmp_path)
    assert space_from_plain(space.to_plain()) == space


def test_it_grows_and_trains_only_what_is_new(tmp_path: Path) -> None:
    directory = tmp_path / "best-ladder-x"
    space = ladder(tmp_path, lmbdas=LMBDAS[:3], seeds=(1,))
    assert sorted(trained(directory, space)) == list(range(6))
    recorded = read_experiment(directory)
    assert isinstance(recorded, LadderSpace)
    for lmbdas, seeds, new in ((LMBDAS[3:], (), 2), ((), (7,), 8), (LMBDAS, (1, 7), 0)):
        words = [*(["--lmbdas", *map(str, lmbdas)] if lmbdas else [])]
        words += ["--seeds", *map(str, seeds)] if seeds else []
        grown = grown_space(recorded, flags(*words))
        refuse_changes(recorded, grown, directory.name)
        before = len(read_trials(directory))
        assert sorted(trained(directory, grown)) == list(range(before, before + new))
        recorded = grown
    assert sorted(map(str, (run.params for run in read_trials(directory)))) == sorted(
        map(str, recorded.runs())
    )
    assert {run.state for run in read_trials(directory)} == {"finished"}


def test_a_killed_one_goes_on_with_what_is_left(tmp_path: Path) -> None:
    directory, space = tmp_path / "best-ladder-x", ladder(tmp_path)
    trained(directory, space, stop_after=9)
    done = {run.number for run in read_trials(directory) if run.state == "finished"}
    assert 0 < len(done) < 16
    assert not done & set(trained(directory, space))
    assert [run.state for run in read_trials(directory)] == ["finished"] * 16


def test_no_run_is_the_best(tmp_path: Path) -> None:
    directory, space = tmp_path / "best-ladder-x", ladder(tmp_path)
    trained(directory, space)
    assert best_of(read_trials(directory), space) is None


def test_settings_are_of_both_configs_and_placement_of_the_ladder(tmp_path: Path) -> None:
    space = ladder(
        tmp_path, "--set", "base.data.batch_size=2", "resources.cpu=2", "budget.concurrent=1"
    )
    assert {space.config(flat).data.batch_size for flat in space.runs()} == {2}
    assert (space.resources.gpu, space.resources.cpu) == (0, 2)
    assert space.budget.concurrent == 1
    grown = grown_space(space, flags("--set", "budget.hours=2"))
    assert (grown.budget.hours, grown.budget.concurrent, grown.resources.cpu) == (2, 1, 2)


def test_start_weights_of_every_lmbda(tmp_path: Path) -> None:
    named = [f"{lmbda}=w{lmbda}" for lmbda in LMBDAS]
    space = ladder(tmp_path, "--start-from", *named)
    starts = {(c.loss.lmbda, c.start_from) for c in map(space.config, space.runs())}
    assert starts == {(lmbda, f"w{lmbda:g}") for lmbda in LMBDAS}
    scratch = ladder(tmp_path, "--start-from", "scratch")
    assert {scratch.config(flat).start_from for flat in scratch.runs()} == {None}
    more = grown_space(space, flags("--lmbdas", "0.0064", "--start-from", "0.0064=w"))
    assert more.config(more.runs()[8] | {"loss.lmbda": 0.0064}).start_from == "w"


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({}, ["--start-from", "0.0004=a"], "no weights for lmbda 0.0008, 0.0016, 0.0032"),
        ({}, ["--start-from", "0.5=a"], "0.5 is not among --lmbdas"),
        ({}, ["--start-from", "a"], "must be scratch, sample, or LMBDA=NAME"),
        ({"start_from": "mine.pth"}, [], "start_from is 'mine.pth', the weights of one lmbda"),
        ({}, ["--set", "budget.trials=3"], "the lmbda and the seeds say how many runs"),
        ({}, ["--set", "scheduler.name=asha"], "must begin with base."),
        ({}, ["--set", "resources.gpu=-1"], "gpu is -1; must be 0 or more"),
        ({}, ["--set", "base.balancer.nam=sum"], "nam"),
        ({"epochs": 3}, [], "epochs is 3, above schedule_horizon (2)"),
    ],
)
def test_refused(
    tmp_path: Path, changes: dict[str, object], words: list[str], message: str
) -> None:
    path = config_file(tmp_path, **changes)
    given = flags(str(path), "--lmbdas", *map(str, LMBDAS), "--seeds", "1", *words)
    with pytest.raises(ConfigError, match=re.escape(message)):
        new_space(given, "laptop")


def test_an_anchor_of_another_length_is_refused(tmp_path: Path) -> None:
    path, other = config_file(tmp_path), config_file(tmp_path, "plain", epochs=1)
    words = [str(path), "--against", str(other), "--lmbdas", "0.01"]
    with pytest.raises(ConfigError, match="plain, best have 1 and 2; runs that are compared"):
        new_space(flags(*words, "--seeds", "1"), "laptop")
    space = new_space(flags(*words, "--seeds", "1", "--set", "base.epochs=1"), "laptop")
    assert space.names == ("plain", "best")
    assert TrainConfig.from_plain(space.ladder.configs["plain"], "x").epochs == 1


def test_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    path, other = config_file(tmp_path), config_file(tmp_path / "b")
    words = [str(path), "--against", str(other), "--lmbdas", "0.01", "--seeds", "1"]
    with pytest.raises(ConfigError, match="has the same name"):
        new_space(flags(*words), "laptop")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "base.epochs=1"], "not with --resume; its runs are of other settings"),
        (["--start-from", "scratch"], "not with --resume"),
        (["--start-from", "0.0004=b"], "the runs of this lmbda start from what the config says"),
    ],
)
def test_growing_refused(tmp_path: Path, words: list[str], message: str) -> None:
    space = ladder(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(message)):
        grown_space(space, flags(*words))
