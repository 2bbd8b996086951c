"""Earlier experiments as evidence: which trials count, what is refused, and that it is frozen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hpcm import ConfigError
from tests.tuning.lr_space import METRIC, lr_space
from tuning.ledger.events import Exploited, Finished, Proposed, Report, Stopped
from tuning.ledger.folders import write_experiment
from tuning.ledger.ledger import Ledger
from tuning.on_ray.experiment import run_experiment
from tuning.search import warm_start
from tuning.search.decisions import Idle, Start
from tuning.search.search import Search
from tuning.spaces.space import SearchSpace

EARLIER = "rates-20260101-000000"


def old_experiment(storage: Path, space: SearchSpace, rates: dict[float, int]) -> Path:
    """An experiment of these learning rates and the epochs that each of them trained."""
    directory = storage / EARLIER
    write_experiment(directory, space)
    ledger = Ledger(directory)
    ledger.open()
    for number, (rate, epochs) in enumerate(rates.items()):
        ledger.append(Proposed(number, params={"optimizer.lr": rate}, source="tpe"))
        for epoch in range(1, epochs + 1):
            metrics = {"epoch": float(epoch), METRIC: 1 + rate + 1 / epoch, "train/loss": 1.0}
            ledger.append(Report(number, metrics=metrics))
        if epochs == space.fidelity.max:
            ledger.append(Finished(number))
        elif epochs:
            ledger.append(Stopped(number, rung=epochs, reason="rank 3 of 3"))
    ledger.close()
    return directory


def named(**more: Any) -> dict[str, Any]:
    return {"name": "tpe", "startup_trials": 3, "prior_share": 0.0, "warm_start": [EARLIER]} | more


def new_search(folder: Path, space: SearchSpace) -> tuple[Search, Ledger]:
    directory = folder / "rates-new"
    directory.mkdir(exist_ok=True)
    warm_start.freeze(directory, warm_start.gather(space, folder, directory))
    ledger = Ledger(directory)
    ledger.open()
    return Search(space, ledger), ledger


def starts(search: Search, count: int) -> list[Start]:
    found = [search.next() for _ in range(count)]
    return [start for start in found if isinstance(start, Start)]


RATES = {2.0e-4: 9, 1.0e-4: 9, 1.0e-3: 3, 9.0e-3: 9, 5.0e-6: 1, 3.0e-4: 0}


def test_what_counts_of_earlier_trials(tmp_path: Path) -> None:
    old_experiment(tmp_path, lr_space(tmp_path), RATES)
    narrow = {"optimizer.lr": lr_space(tmp_path).to_plain()["parameters"][0] | {"high": 5.0e-3}}
    for spec in narrow.values():
        del spec["path"]
    shorter = {"max": 3, "schedule_horizon": 9}
    new = lr_space(tmp_path, searcher=named(), parameters=narrow, fidelity=shorter)
    (earlier,) = warm_start.gather(new, tmp_path, tmp_path / "none")
    assert str(earlier) == (
        f"4 of 6 trials of {EARLIER}; left out: 1 outside this space, 1 without a result"
    )
    assert [(t.number, t.state, t.epochs) for t in earlier.trials] == [
        (0, "finished", 3),  # the new maximum fidelity: what came later is left out
        (1, "finished", 3),
        (2, "finished", 3),
        (4, "stopped", 1),
    ]
    assert "train/loss" not in earlier.trials[0].last
    longer = lr_space(tmp_path, searcher=named(), fidelity={"max": 27, "schedule_horizon": 27})
    with pytest.raises(ConfigError, match=r"fidelity.schedule_horizon: 9 -> 27"):
        warm_start.gather(longer, tmp_path, tmp_path / "none")


def test_a_copy_has_no_config_that_its_numbers_belong_to(tmp_path: Path) -> None:
    directory = old_experiment(tmp_path, lr_space(tmp_path), RATES)
    ledger = Ledger(directory)
    ledger.open()
    ledger.append(Exploited(1, epoch=3, donor=0, params={"optimizer.lr": 2.4e-4}))
    ledger.close()
    new = lr_space(tmp_path, searcher=named())
    (earlier,) = warm_start.gather(new, tmp_path, tmp_path / "none")
    assert 1 not in [t.number for t in earlier.trials]
    assert "1 whose config changed on the way" in str(earlier)


def test_the_model_is_used_at_once_and_the_budget_is_untouched(tmp_path: Path) -> None:
    old_experiment(tmp_path, lr_space(tmp_path), RATES)
    search, ledger = new_search(tmp_path, lr_space(tmp_path, searcher=named()))
    configs = starts(search, 8)
    assert [start.trial for start in configs] == list(range(8))
    assert search.next() is Idle.NOT_NOW
    assert [r.source for r in ledger.records()] == ["prior", *["tpe"] * 7]
    ledger.close()
    cold = lr_space(tmp_path, searcher=named(warm_start=[]))
    shutil.rmtree(tmp_path / "rates-new")
    search, ledger = new_search(tmp_path, cold)
    others = starts(search, 8)
    assert [r.source for r in ledger.records()] == ["prior", *["random"] * 7]
    assert configs[0] == others[0]
    assert configs[1] != others[1]
    ledger.close()


def test_a_resume_knows_what_the_start_knew(tmp_path: Path) -> None:
    """The earlier experiment went on meanwhile, or is gone."""
    space = lr_space(tmp_path, searcher=named())
    directory = old_experiment(tmp_path, lr_space(tmp_path), RATES)
    search, ledger = new_search(tmp_path, space)
    first = starts(search, 3)
    ledger.close()
    shutil.rmtree(directory)
    frozen = tmp_path / "rates-new" / warm_start.WARM_START_FILE
    kept = frozen.read_bytes()
    shutil.rmtree(tmp_path / "rates-new")
    (tmp_path / "rates-new").mkdir()
    frozen.write_bytes(kept)
    search, ledger = new_search(tmp_path, space)
    assert starts(search, 3) == first
    assert frozen.read_bytes() == kept
    ledger.close()
    frozen.write_text("{]")
    with pytest.raises(ConfigError, match=r"warm_start.json: not what a search writes"):
        warm_start.gather(space, tmp_path, tmp_path / "rates-new")


def test_another_objective_or_base_is_refused_with_the_keys(tmp_path: Path) -> None:
    old_experiment(tmp_path, lr_space(tmp_path), RATES)
    other = lr_space(
        tmp_path,
        searcher=named(),
        objective={"metric": "val_bpp"},
        base={"loss": {"lmbda": 0.05}, "data": {"train": "sample", "val": "sample_val"}},
    )
    with pytest.raises(ConfigError) as caught:
        warm_start.gather(other, tmp_path, tmp_path / "none")
    assert "searcher.warm_start: rates-20260101-000000: its trials would not" in str(caught.value)
    assert "base.loss.lmbda: nothing -> 0.05" in str(caught.value)
    assert "objective.metric: val_rd_cost -> val_bpp" in str(caught.value)
    # Neither what is searched, nor how, changes what a number means.
    same = lr_space(tmp_path, searcher=named(), scheduler={"name": "fifo"}, budget={"trials": 3})
    assert len(warm_start.gather(same, tmp_path, tmp_path / "none")[0].trials) == 5


def test_names_that_cannot_be(tmp_path: Path) -> None:
    space = lr_space(tmp_path, searcher=named())
    with pytest.raises(ConfigError, match=r"warm_start: .*: not in .*; it holds no experiment"):
        warm_start.gather(space, tmp_path, tmp_path / "none")
    old_experiment(tmp_path, lr_space(tmp_path), RATES)
    wrong = lr_space(tmp_path, searcher=named(warm_start=["rates-20260101-000001"]))
    with pytest.raises(ConfigError, match=f"Did you mean '{EARLIER}'"):
        warm_start.gather(wrong, tmp_path, tmp_path / "none")
    with pytest.raises(ConfigError, match="must name each once"):
        lr_space(tmp_path, searcher=named(warm_start=[EARLIER, EARLIER]))
    with pytest.raises(ConfigError, match="searcher.warm_start: unknown"):
        lr_space(tmp_path, searcher={"name": "random", "warm_start": [EARLIER]})
    itself = lr_space(tmp_path, searcher=named())
    with pytest.raises(ConfigError, match=f"warm_start: {EARLIER}: is this experiment itself"):
        warm_start.gather(itself, tmp_path, tmp_path / EARLIER)
    many = {"name": "gp", "warm_start": [EARLIER]}
    with pytest.raises(ConfigError, match="5 trials, and budget.trials is 498; gp takes 500"):
        warm_start.gather(
            lr_space(tmp_path, searcher=many, budget={"trials": 498}), tmp_path, tmp_path / "none"
        )


def test_nothing_is_kept_where_nothing_is_named(tmp_path: Path) -> None:
    space = lr_space(tmp_path)
    assert warm_start.gather(space, tmp_path, tmp_path) == []
    warm_start.freeze(tmp_path, [])
    assert not (tmp_path / warm_start.WARM_START_FILE).exists()
    assert warm_start.evidence_in(tmp_path, space) == []


def test_a_search_that_cannot_learn_from_them_creates_nothing(tmp_path: Path) -> None:
    """Refused before Ray is started."""
    space = lr_space(tmp_path, searcher=named())
    with pytest.raises(ConfigError, match=r"searcher.warm_start: rates-20260101-000000: not in"):
        run_experiment(space, storage=str(tmp_path / "storage"))
    assert not (tmp_path / "storage").exists()
