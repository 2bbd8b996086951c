"""`objective.reference.experiment`: the reference runs of an earlier experiment, without Ray."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcm.schema import ConfigError
from tests.tuning.lr_space import kill
from tests.tuning.simulation.test_delta_rate import OneCurve, space_of
from tuning.ledger.events import Proposed
from tuning.ledger.folders import write_experiment
from tuning.ledger.ledger import LEDGER_FILE, Ledger
from tuning.ledger.reference_curve import DELTA_RATE
from tuning.results.outcome import ExperimentResult
from tuning.results.tables import read_result
from tuning.search.reference_reuse import gather_references
from tuning.search.search import Search
from tuning.simulation.simulate import simulate_in
from tuning.spaces.sections import Fidelity, Reference
from tuning.spaces.space import SearchSpace
from tuning.watching.cost import estimate
from tuning.watching.dry_run import size_lines

EARLIER = "rates-1"


class NoReferences(OneCurve):
    """A source that has none."""

    def report(self, params: Any, seed: int, epoch: int) -> dict[str, float]:
        assert "loss.lmbda" not in params, "a reference run is trained"
        return super().report(params, seed, epoch)


def run(folder: Path, name: str, space: SearchSpace, source: OneCurve) -> ExperimentResult:
    directory = folder / name
    write_experiment(directory, space)
    return simulate_in(directory, space, source, slots=2, seed=1)


@pytest.fixture
def earlier(tmp_path: Path) -> SearchSpace:
    """The space of an experiment of its own reference runs."""
    space = space_of(tmp_path, "fifo")
    run(tmp_path, EARLIER, space, OneCurve())
    return space


def reusing(space: SearchSpace, **reference: Any) -> SearchSpace:
    given = Reference(experiment=EARLIER, **reference)
    return replace(space, objective=replace(space.objective, reference=given))


def test_trials_get_the_scores_that_own_reference_runs_would_give(
    tmp_path: Path, earlier: SearchSpace
) -> None:
    space = reusing(earlier)
    result = run(tmp_path, "rates-2", space, NoReferences())
    before = read_result(EARLIER, str(tmp_path))
    assert [t.curve(DELTA_RATE) for t in result.trials] == [
        t.curve(DELTA_RATE) for t in before.trials
    ]
    assert [t.number for t in result.references] == [1, 2, 3]
    assert [t.cost_hours for t in result.references] == [0, 0, 0]
    assert before.hours_spent - result.hours_spent == pytest.approx(
        sum(t.cost_hours for t in before.references)
    )
    assert result.complete


def test_the_new_ledger_is_enough_alone(tmp_path: Path, earlier: SearchSpace) -> None:
    result = run(tmp_path, "rates-2", reusing(earlier), NoReferences())
    shutil.rmtree(tmp_path / EARLIER)
    read = read_result("rates-2", str(tmp_path))
    assert read.best is not None
    assert result.best is not None
    assert read.best.reports == result.best.reports
    own = Ledger(tmp_path / "rates-2")
    assert gather_references(reusing(earlier), tmp_path, own, simulated=True) == {}


@pytest.mark.parametrize("lines", range(7, 40, 4))
def test_a_driver_that_dies_while_it_copies(
    tmp_path: Path, earlier: SearchSpace, lines: int
) -> None:
    """The next one copies the rest; no reference run is trained."""
    space = reusing(earlier)
    run(tmp_path, "rates-2", space, NoReferences())
    path = tmp_path / "rates-2" / LEDGER_FILE
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))
    ledger = Ledger(path.parent)
    ledger.open()
    found = gather_references(space, tmp_path, ledger, simulated=True)
    Search(space, ledger, references=found).next()
    assert [(r.state, r.epochs) for r in ledger.reference_runs()] == [("finished", 9)] * 3
    numbers = [r.number for r in ledger.reference_runs()]
    assert numbers == [1, 2, 3]
    kill(ledger)


def test_they_cost_nothing_in_the_plan(earlier: SearchSpace) -> None:
    own, reused = estimate(earlier, None), estimate(reusing(earlier), None)
    assert own.most_epochs - reused.most_epochs == 3 * 9
    lines = size_lines(reusing(earlier), reused)
    assert any(line.endswith(f"; those of {EARLIER}, at no cost") for line in lines)


def base(**fields: Any) -> Callable[[SearchSpace], SearchSpace]:
    return lambda space: replace(space, base=space.base | fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (base(seed=5), r"seed: 0 -> 5"),
        (base(data={"train": "sample", "val": "sample", "patch": 512}), r"data\.patch: 256 -> 512"),
        (base(model={"name": "hpcm_base"}), r"model\.name: hpcm_tiny -> hpcm_base"),
        (
            lambda s: replace(s, fidelity=Fidelity(max=27, schedule_horizon="max")),
            r"epochs: 9 -> 27",
        ),
        (
            lambda s: replace(s, objective=replace(s.objective, weights="ema")),
            r"objective\.weights: raw -> ema",
        ),
        (
            lambda s: reusing(s, lmbdas=(0.0065, 0.013, 0.03)),
            r"reference\.lmbdas: 0\.0065, 0\.013, 0\.026 -> 0\.0065, 0\.013, 0\.03",
        ),
        (
            lambda s: reusing(s, config={"optimizer": {"name": "adamw"}}),
            r"optimizer\.name: adam -> adamw",
        ),
    ],
)
def test_other_runs_are_refused_with_the_difference(
    tmp_path: Path,
    earlier: SearchSpace,
    change: Callable[[SearchSpace], SearchSpace],
    message: str,
) -> None:
    with pytest.raises(ConfigError, match=message):
        gather_references(change(reusing(earlier)), tmp_path, simulated=True)


def test_what_decides_no_number_may_differ(tmp_path: Path, earlier: SearchSpace) -> None:
    data = {"train": "sample", "val": "sample_val", "workers": 0, "cache": True}
    space = base(data=data, precision={"threads": 2})(reusing(earlier))
    assert len(gather_references(space, tmp_path, simulated=True)) == 3


def test_what_is_not_there_or_not_trained_is_refused(tmp_path: Path, earlier: SearchSpace) -> None:
    space = reusing(earlier)
    with pytest.raises(ConfigError, match=r"rates-1: it was simulated"):
        gather_references(space, tmp_path)
    other = replace(
        space, objective=replace(space.objective, reference=Reference(experiment="rates-9"))
    )
    with pytest.raises(ConfigError, match=r"rates-9: not in .*Did you mean 'rates-1'"):
        gather_references(other, tmp_path, simulated=True)
    with pytest.raises(ConfigError, match="it holds no experiment"):
        gather_references(space, tmp_path / "nothing", simulated=True)
    directory = tmp_path / EARLIER
    (directory / LEDGER_FILE).unlink()
    ledger = Ledger(directory)
    ledger.open()
    ledger.append(Proposed(0, params=earlier.prior(), source="prior"))
    lmbda = earlier.reference_lmbdas()[0]
    params = earlier.reference_params(lmbda)
    ledger.append(Proposed(1, params=params, source="reference", lmbda=lmbda))
    ledger.close()
    with pytest.raises(ConfigError, match=r"reference run at lmbda 0\.0065 is pending"):
        gather_references(space, tmp_path, simulated=True)


def test_a_space_without_it_keeps_its_digest(tmp_path: Path, earlier: SearchSpace) -> None:
    assert reusing(earlier).digest == earlier.digest
    assert SearchSpace.from_plain(reusing(earlier).to_plain()) == reusing(earlier)
