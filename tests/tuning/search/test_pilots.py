"""A rung cuts once it is seen to foretell the end, and lets all pass if it does not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import tuning
from hpcm import ConfigError
from tests.tuning.lr_space import METRIC, lr_space
from tuning.ledger.folders import read_experiment, refuse_changes
from tuning.results.outcome import ExperimentResult
from tuning.search.halving import LARGE_CONTROL, SMALL_CONTROL, SMALL_SEARCH, Asha, Promote
from tuning.search.tpe_section import Tpe
from tuning.spaces.loading import load_space
from tuning.spaces.space import SearchSpace

GOLDEN = Path(__file__).parents[2] / "golden" / "ledgers"


class Rates:
    """The end is the rate; early scores are it too, or say the contrary."""

    def __init__(self, honest_from: int) -> None:
        self.honest_from = honest_from

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        score = 6 + math.log10(params["optimizer.lr"])
        return {METRIC: score if epoch >= self.honest_from else -score, "val_bpp": 1.0}

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        return 60.0


def searched(
    folder: Path, name: str, honest_from: int, slots: int = 2, pilots: int = 3
) -> tuple[ExperimentResult, list[str]]:
    space = lr_space(
        folder,
        scheduler={"name": name, "pilots": pilots},
        searcher={"name": "random", "seed": 0},
        budget={"trials": 30},
    )
    messages: list[str] = []
    result = tuning.simulate(space, Rates(honest_from), slots=slots, seed=1, notify=messages.append)
    return result, messages


def finished(result: ExperimentResult) -> int:
    return sum(trial.state == "finished" for trial in result.trials)


@pytest.mark.parametrize("name", ["asha", "promote"])
def test_a_rung_that_foretells_the_end_cuts_after_its_pilots(tmp_path: Path, name: str) -> None:
    result, found = searched(tmp_path, name, honest_from=1)
    assert finished(result) < 20
    assert [text.partition(",")[0] for text in sorted(found)] == [
        f"the rung at epoch {epoch} cuts from now on: Kendall tau 1.00 with the end"
        for epoch in (1, 3)
    ]
    ended = [t.number for t in result.trials if t.state == "finished"]
    assert {0, 1, 2} <= set(ended)  # the pilots
    best = min(result.trials, key=lambda t: t.params["optimizer.lr"])
    assert result.best is best


@pytest.mark.parametrize("name", ["asha", "promote"])
def test_a_rung_that_says_the_contrary_lets_all_pass_and_says_so(tmp_path: Path, name: str) -> None:
    result, found = searched(tmp_path, name, honest_from=9)
    assert finished(result) == 30
    assert any("lets all pass: Kendall tau -1.00 with the end" in text for text in found)


@pytest.mark.parametrize("name", ["asha", "promote"])
def test_one_rung_may_cut_while_another_does_not(tmp_path: Path, name: str) -> None:
    result, found = searched(tmp_path, name, honest_from=3)
    assert all(trial.rung_stopped_at in (None, 3) for trial in result.trials)
    assert 3 <= finished(result) < 25
    assert any("epoch 1 lets all pass" in text for text in found)
    assert any("epoch 3 cuts" in text for text in found)


@pytest.mark.parametrize("name", ["asha", "promote"])
def test_without_pilots_a_rung_cuts_at_once(tmp_path: Path, name: str) -> None:
    result, found = searched(tmp_path, name, honest_from=9, pilots=0)
    assert finished(result) < 20
    assert not found


def test_pilots_are_on_and_the_control_follows_the_size_of_the_search() -> None:
    assert (Promote().pilots, Promote().agreement, Asha().pilots) == (3, 0.4, 3)
    assert Promote().control_share(SMALL_SEARCH - 1) == SMALL_CONTROL == 0.2
    assert Promote().control_share(SMALL_SEARCH) == LARGE_CONTROL == 0.05
    assert Promote(control=0.5).control_share(10) == 0.5
    assert Promote(control=0.0).control_share(10) == 0.0


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"pilots": 2}, "scheduler.pilots: 2; must be 0, or 3 or more"),
        ({"pilots": -1}, "scheduler.pilots: -1; must be 0, or 3 or more"),
        ({"agreement": 1.5}, "scheduler.agreement: 1.5; must be -1 to 1"),
    ],
)
def test_what_is_no_policy_is_refused(
    tmp_path: Path, section: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        lr_space(tmp_path, scheduler={"name": "promote", **section})


# --- experiments of earlier versions --------------------------------------------------------------


def test_an_earlier_experiment_goes_on_as_it_began() -> None:
    """Its record lacks the keys; the record's own digest stays, for they did not exist."""
    space = read_experiment(GOLDEN / "promote")
    assert isinstance(space.scheduler, Promote)
    assert (space.scheduler.pilots, space.scheduler.control) == (0, 0.2)
    with_tpe = read_experiment(GOLDEN / "asha")
    before = Tpe(seed=3, startup_trials=2, prior_share=0.5, incumbent_share=0.0, at_rungs=False)
    assert with_tpe.searcher == before
    record = json.loads((GOLDEN / "promote" / "experiment.json").read_text())
    assert "pilots" not in record["space"]["scheduler"]
    assert SearchSpace.from_plain(space.to_plain()) == space


def test_a_digest_has_no_key_that_earlier_experiments_lacked(tmp_path: Path) -> None:
    plain = lr_space(tmp_path, scheduler={"name": "promote", "pilots": 0}).to_plain()
    with_keys = SearchSpace.from_plain(plain).digest
    del plain["scheduler"]["pilots"], plain["scheduler"]["agreement"]
    del plain["searcher"]["incumbent_share"]
    assert SearchSpace.from_plain(plain).digest == with_keys
    plain["scheduler"]["pilots"] = 3
    assert SearchSpace.from_plain(plain).digest != with_keys


def test_a_file_that_does_not_say_keeps_what_the_experiment_began_with(tmp_path: Path) -> None:
    """A default that has changed since is no change of the space; what the file says is."""
    now = lr_space(tmp_path, scheduler={"name": "promote"})
    plain = now.to_plain()
    del plain["scheduler"]["pilots"], plain["searcher"]["incumbent_share"]
    plain["scheduler"]["control"], plain["searcher"]["prior_share"] = 0.05, 0.5
    begun = SearchSpace.from_plain(plain)
    assert any(change.breaks for change in begun.diff(now))
    again = load_space(str(tmp_path / "rates.yaml"), begun=begun)
    assert again.scheduler == begun.scheduler
    assert again.searcher == begun.searcher
    refuse_changes(begun, again, "rates")
    asked = load_space(str(tmp_path / "rates.yaml"), overrides=["scheduler.pilots=4"], begun=begun)
    assert getattr(asked.scheduler, "pilots") == 4  # noqa: B009
    with pytest.raises(ConfigError, match="scheduler.pilots: 0 -> 4"):
        refuse_changes(begun, asked, "rates")
