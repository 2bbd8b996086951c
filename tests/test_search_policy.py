"""The benchmark of search policies: what is kept of a search, and what is made of many."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.policy_grid import grid_rows
from benchmarks.policy_runs import MARKS, POLICIES, VARIANTS, Case, Trace
from benchmarks.policy_scores import leave_one_out, ranking, ratio, row
from benchmarks.search_policy import OVERRIDES, Job, Rows, play
from tuning.simulation.arms import Arms, read_curves
from tuning.simulation.family import PRESETS, Family
from tuning.spaces.loading import load_space
from tuning.spaces.space import SearchSpace

CURVES = Path(__file__).parent / "golden" / "curves" / "excerpt.npz"


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return load_space("phase3", overrides=OVERRIDES)


def played(space: SearchSpace, name: str, seed: int = 1) -> tuple[Trace, Family]:
    family = Family(space, replace(PRESETS["good"], moves=0.0), landscape=seed)
    return {**POLICIES, **VARIANTS}[name](Case(space, family, 4, seed)), family


@pytest.mark.parametrize("name", [*POLICIES, *VARIANTS])
def test_every_policy_names_a_config_at_every_mark(space: SearchSpace, name: str) -> None:
    trace, family = played(space, name)
    assert list(trace.named) == list(MARKS)
    assert all(space.active(params) == params for params in trace.named.values())
    assert all(family.excess(params) >= 0 for params in trace.named.values())
    whole = 12 if name == "grid of 12" else max(MARKS)
    assert whole <= trace.spent <= whole + 1
    assert 0.8 < trace.used <= 1
    if name in ("default", "Ray ASHA, TPE"):
        again, _ = played(space, name)
        assert again == trace


def test_arms_are_searched_to_the_last(space: SearchSpace) -> None:
    curves = read_curves(CURVES)["ogbg_jax"]
    source = Arms(space, curves)
    case = Case(space, source, 2, 0, trials=len(curves))
    whole = POLICIES["random, full length"](case)
    assert whole.spent == len(whole.whole) == len(curves)
    assert source.excess(whole.named[32]) == pytest.approx(0, abs=1e-6)
    job = Job("ogbg_jax", "recorded", 0, 2, str(CURVES))
    found = {name: play(job, name) for name in ("default", "default, no incumbent")}
    assert found["default"] == found[job.same["default, no incumbent"]]  # nothing to learn from
    assert found["default"] == found["default, no incumbent"]
    assert found["default"]["lost"] in (True, False)


def test_a_run_that_was_cut_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, job = tmp_path / "rows.jsonl", Job("good", "good", 0, 8)
    first = Rows(file).play(job, "grid of 12")
    with file.open("a") as rows:
        rows.write('{"source": "go')  # it was killed here
    monkeypatch.setattr("benchmarks.search_policy.play", None)
    again = Rows(file)
    assert again.play(job, "grid of 12") == first
    with pytest.raises(TypeError):
        again.play(job, "default")
    assert file.read_text().count("\n") == 1


@pytest.mark.parametrize("curves", [None, str(CURVES)])
def test_the_same_configs_under_rungs(curves: str | None) -> None:
    """What no rung stops is all of it, and loses nothing."""
    job = Job("ogbg_jax" if curves else "good", "x", 1, 8, curves)
    few = play(job, "12 configs, 2 at a time, no pilots")
    assert few["share"] < 0.6
    whole = play(job, "12 configs, 8 at a time")
    assert few["share"] < whole["share"] <= 1
    assert not (whole["share"] == 1 and whole["lost"])
    rows = grid_rows({"12 configs, 8 at a time": [whole]})
    assert rows["x"]["12 configs, 8 at a time"]["share"] == whole["share"]


# --- the statistics -------------------------------------------------------------------------------


def results(source: str, regret: float, n: int = 4, lost: bool | None = None) -> list[Any]:
    marks = {str(mark): regret for mark in MARKS}
    one = {"source": source, "group": source, "regret": marks, "lost": lost, "spent": 1, "used": 1}
    return [one | {"seed": seed} for seed in range(n)]


def test_a_row_is_the_mean_with_its_interval() -> None:
    found = row([*results("a", 1.0, lost=True), *results("b", 3.0, lost=False)])
    assert found["8"]["regret"] == 2.0
    assert found["8"]["interval"] == [1.0, 3.0]  # two sources, and searches of one are alike
    assert (found["n"], found["lost"]) == (8, 0.5)


def test_a_ratio_is_paired() -> None:
    own = [*results("a", 1.0), *results("b", 4.0)]
    other = [*results("a", 2.0), *results("b", 8.0)]
    assert ratio(own, other) == {"ratio": 0.5, "interval": [0.5, 0.5]}


def test_ranks_are_over_sources() -> None:
    every = {
        name: [r for k in range(6) for r in results(f"source {k}", value + k)]
        for name, value in {"good": 1.0, "bad": 3.0, "middle": 2.0}.items()
    }
    found = ranking(every)
    assert found["ranks"] == {"good": 1.0, "middle": 2.0, "bad": 3.0}
    assert found["critical_difference"] == pytest.approx(2.343 * np.sqrt(12 / 36), abs=1e-3)
    assert found["friedman_p"] < 0.01


def test_leave_one_out_chooses_on_the_others() -> None:
    """What is best on the source that is left out does not count."""
    every = {
        "reference": [*results("a", 1.0), *results("b", 1.0), *results("c", 1.0)],
        "one": [*results("a", 0.1), *results("b", 1.0), *results("c", 1.0)],
        "two": [*results("a", 0.9), *results("b", 0.8), *results("c", 0.8)],
    }
    rows = leave_one_out(every, ["one", "two"], "reference")
    chosen = {one["left_out"]: (one["chosen"], round(one["ratio"], 6)) for one in rows}
    assert chosen == {"a": ("two", 0.9), "b": ("one", 1.0), "c": ("one", 1.0)}
