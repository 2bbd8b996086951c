"""Sources of curves: what they owe to every simulation, and what each refuses."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

import tuning
from hpcm import ConfigError
from tests.tuning.ledger_lines import read_lines
from tests.tuning.lr_space import lr_space
from tests.tuning.plays import decisions
from tuning import load_space
from tuning.ledger.folders import read_experiment
from tuning.ledger.ledger import Ledger
from tuning.ledger.reference_curve import DELTA_RATE
from tuning.simulation.arms import Arms
from tuning.simulation.recorded import Recorded, distance
from tuning.simulation.simulate import Costs, simulate_in
from tuning.simulation.sources import read_source
from tuning.spaces.documents import shipped_spaces
from tuning.spaces.draws import draw
from tuning.spaces.space import SearchSpace

GOLDEN = Path(__file__).parents[2] / "golden"
CURVES = f"curves:{GOLDEN}/curves/excerpt.npz"
SHORT = ("fidelity.min=1", "fidelity.max=9")


def phase3(*overrides: str) -> SearchSpace:
    return load_space("phase3", overrides=[*SHORT, *overrides])


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
@pytest.mark.parametrize("text", ["family:good", f"{CURVES}:ogbg_jax"])
def test_every_shipped_space_can_be_simulated(name: str, text: str) -> None:
    space = load_space(name)
    source = read_source(text, space)
    flat = draw(space, random.Random(0))
    report = source.report(flat, 0, space.fidelity.max)
    assert set(space.compared) <= set(report)
    assert {m.replace("val_", "val_ema_", 1) for m in report if "_ema_" not in m} <= set(report)
    for lmbda in space.reference_lmbdas():
        assert math.isfinite(source.report(space.reference_params(lmbda), 0, 1)["val_bpp"])
    assert source.seconds(flat, 1) > 0


@pytest.mark.parametrize("text", ["family:misleading", f"{CURVES}:criteo1tb_pytorch"])
def test_the_same_search_again_finds_the_same(text: str) -> None:
    space = phase3("budget.trials=12", "confirm.top=1")
    one, other = (
        tuning.simulate(space, read_source(text, space), slots=3, seed=2) for _ in range(2)
    )
    assert decisions(one.trials) == decisions(other.trials)
    assert one.complete
    assert one.best is not None
    assert DELTA_RATE in one.best.last


def recorded(name: str = "promote") -> tuple[SearchSpace, Recorded]:
    folder = GOLDEN / "ledgers" / name
    space = read_experiment(folder)
    return space, Recorded.from_folder(str(folder), space)


def test_an_experiment_is_replayed_as_it_was_and_farther() -> None:
    space, source = recorded()
    trials = Ledger(GOLDEN / "ledgers" / "promote").records()
    stopped = next(t for t in trials if t.epochs < space.fidelity.max and t.reports)
    whole = next(t for t in trials if t.epochs == space.fidelity.max)
    assert source.report(stopped.params, 0, stopped.epochs) == stopped.last
    longer = source.report(stopped.params, 0, space.fidelity.max)
    score = space.objective.score
    nearest = min(
        (t for t in trials if t.epochs == space.fidelity.max),
        key=lambda t: distance(source.coordinates, stopped.params, t.params),
    )
    before = nearest.report_at(stopped.epochs)
    assert before is not None
    assert longer[score] / stopped.last[score] == pytest.approx(nearest.last[score] / before[score])
    near = {"optimizer.lr": whole.params["optimizer.lr"] * 1.0001}
    assert source.report(near, 0, 1) == whole.report_at(1)
    assert "2 configs took the curve of the nearest" in source.text()


def test_an_experiment_can_be_searched_again() -> None:
    space, source = recorded()
    result = tuning.simulate(space, source, slots=2, seed=3)
    assert result.complete
    assert result.best is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fidelity": {"min": 1, "max": 27}}, "its curves end at epoch 9 at the latest"),
        ({"objective": {"metric": "val_ms_ssim_db", "mode": "max"}}, "report no val_ms_ssim_db"),
        ({"parameters": {"balancer.w_lr": {
            "type": "float", "low": 0.1, "high": 1.0, "prior": 0.2}},
          "base": {"balancer": {"name": "famo"}, "model": {"name": "hpcm_tiny"}}},
         "no trial of it has a parameter of rates"),
        ({"parameters": {"optimizer.lr": {
            "type": "float", "low": 1.0e-6, "high": 2.0e-6, "prior": 1.5e-6}}},
         "no curve near the prior config"),
    ],
)  # fmt: skip
def test_an_experiment_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, dict[str, object]], message: str
) -> None:
    space = lr_space(tmp_path)
    if "parameters" in change:
        data = {"name": "rates", **change}
        (tmp_path / "rates.yaml").write_text(yaml.safe_dump(data))
        space = load_space(str(tmp_path / "rates.yaml"), overrides=["fidelity.max=9"])
    else:
        space = lr_space(tmp_path, **change)
    with pytest.raises(ConfigError, match=message):
        Recorded.from_folder(str(GOLDEN / "ledgers" / "promote"), space)


# --- curves of others -----------------------------------------------------------------------------


def test_arms_are_given_one_by_one_and_fall_to_what_they_come_to() -> None:
    space = phase3()
    source = read_source(f"{CURVES}:ogbg_jax", space)
    assert isinstance(source, Arms)
    flats = [draw(space, random.Random(seed)) for seed in range(10)]
    assert len({source.arm(flat) for flat in flats}) == 10
    assert [source.arm(flat) for flat in flats] == source.keys
    ranks = sorted(source.worse_than(flat) for flat in flats)
    assert ranks[0] == 0
    ends = {flat["optimizer.lr"]: source.report(flat, 0, 9)["val_bpp"] for flat in flats}
    best = min(flats, key=lambda flat: ends[flat["optimizer.lr"]])
    assert source.excess(best) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("family:goof", "no such family. Did you mean 'good'"),
        ("curves:nowhere.npz", "not a file of curves"),
        (CURVES, "give the workload"),
        (f"{CURVES}:ogbg", "no workload ogbg. Did you mean 'ogbg_jax'"),
        ("/nowhere/at/all", "not the folder of an experiment"),
        ("famly:good", "not the folder of an experiment"),
    ],
)
def test_a_source_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_source(text, phase3())


def test_damaged_files_of_curves_are_refused(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "curves" / "excerpt.npz", tmp_path / "a.npz")
    with pytest.raises(ConfigError, match="no index beside it"):
        read_source(f"curves:{tmp_path}/a.npz", phase3())
    for text, message in (
        ("{", "a_index.json"),
        ("{}", "must be a list"),
        ("[]", "no entry"),
        ("[1]", "lacks key or workload"),
        ('[{"key": "x", "workload": "w"}]', "x is no curve"),
    ):
        (tmp_path / "a_index.json").write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_source(f"curves:{tmp_path}/a.npz", phase3())


# --- what is not training -------------------------------------------------------------------------


class Lower:
    """Epochs of a minute; lower rates are better."""

    def report(self, params: Mapping[str, float], seed: int, epoch: int) -> dict[str, float]:
        return {"val_rd_cost": params["optimizer.lr"], "val_bpp": 0.5}

    def seconds(self, params: object, epoch: int) -> float:
        return 60.0


@pytest.mark.parametrize(
    ("scheduler", "costs", "more"),
    [
        ("fifo", Costs(start=60.0), 3),  # three trials
        ("fifo", Costs(checkpoint=60.0), 3),  # each saves at its end
        ("fifo", Costs(promotion=60.0), 0),
    ],
)
def test_costs_beside_training_take_time(
    tmp_path: Path, scheduler: str, costs: Costs, more: int
) -> None:
    """Minutes of one slot, beyond those without costs."""
    space = lr_space(
        tmp_path,
        scheduler={"name": scheduler} | ({"control": 0.0} if scheduler == "promote" else {}),
        fidelity={"max": 9},
        budget={"trials": 3},
        searcher={"name": "random"},
    )
    minutes = []
    for name, each in (("free", Costs()), ("costly", costs)):
        (tmp_path / name).mkdir()
        simulate_in(tmp_path / name, space, Lower(), slots=1, seed=0, costs=each)
        minutes.append(Ledger(tmp_path / name).seconds / 60)
    assert minutes[1] - minutes[0] == pytest.approx(more)


def test_a_promotion_costs_more_than_a_start(tmp_path: Path) -> None:
    """Only what waited and goes on from its checkpoint."""
    space = lr_space(
        tmp_path,
        scheduler={"name": "promote", "pilots": 0, "control": 0.0},
        budget={"trials": 9},
        searcher={"name": "random", "prior_share": 0.5},
    )
    minutes, promoted = [], 0
    for each in (0.0, 60.0):
        directory = tmp_path / f"costs {each}"
        directory.mkdir()
        simulate_in(directory, space, Lower(), slots=1, seed=0, costs=Costs(promotion=each))
        minutes.append(Ledger(directory).seconds / 60)
        promoted = sum(event["event"] == "promoted" for event in read_lines(directory))
    assert promoted > 0
    assert minutes[1] - minutes[0] == pytest.approx(promoted)


def test_costs_below_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="costs: start is -1"):
        Costs(start=-1.0)
