"""Sources of curves: what they owe to every simulation, and what each refuses."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import tuning
from benchmarks.family_fit import fit
from hpcm import ConfigError
from tests.tuning.ledger_lines import read_lines
from tests.tuning.lr_space import lr_space
from tests.tuning.plays import decisions
from tuning import load_space
from tuning.ledger.folders import read_experiment
from tuning.ledger.ledger import Ledger
from tuning.ledger.reference_curve import DELTA_RATE
from tuning.search.random_draws import Random
from tuning.search.scheduler import Fifo
from tuning.simulation.arms import Arms
from tuning.simulation.family import PRESETS, Family
from tuning.simulation.rd_point import rd_metrics
from tuning.simulation.recorded import Recorded, distance
from tuning.simulation.simulate import Costs, simulate, simulate_in
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


def test_a_rate_distortion_point_moves_along_one_curve() -> None:
    """At its own optimum lmbda D is R; elsewhere on the curve the cost is higher, worse or not."""
    best = rd_metrics(0.013, 0.013, 0.0, 0.0)
    assert best["val_rd_cost"] == pytest.approx(2 * best["val_bpp"])
    assert best["val_psnr"] == pytest.approx(-10 * math.log10(best["val_mse"]))
    for place in (-0.3, 0.3):
        moved = rd_metrics(0.013, 0.013, 0.0, place)
        assert moved["val_rd_cost"] > best["val_rd_cost"]
        octaves = (moved["val_psnr"] - best["val_psnr"]) / (10 * math.log10(2))
        assert math.log2(moved["val_bpp"] / best["val_bpp"]) == pytest.approx(octaves)
    for lmbda in (0.0065, 0.026):  # each run sits in the minimum of its own cost
        own = rd_metrics(lmbda, 0.013, 0.0, 0.0)["val_rd_cost"]
        assert own < rd_metrics(lmbda, 0.013, 0.0, 0.1)["val_rd_cost"]
        assert own < rd_metrics(lmbda, 0.013, 0.0, -0.1)["val_rd_cost"]


@pytest.mark.parametrize("name", PRESETS)
def test_the_optimum_of_a_family_is_the_best(name: str) -> None:
    space, generator = phase3(), random.Random(1)
    family = Family(space, PRESETS[name], landscape=4)
    assert family.excess(family.optimum) == 0
    drawn = [family.excess(draw(space, generator)) for _ in range(300)]
    assert min(drawn) > 0
    assert np.mean(drawn) == pytest.approx(PRESETS[name].spread, rel=0.3)
    prior = family.excess(space.prior())
    assert (prior > np.mean(drawn)) == PRESETS[name].opposite


def test_each_parameter_of_a_family_does_what_it_says() -> None:
    """With all noises off a curve is its formula; each noise alone moves what it should."""
    space = phase3()
    still = replace(
        PRESETS["good"], crossing=0.0, noise=0.0, seed_noise=0.0, moves=0.0, diverging=0.0
    )
    lmbda, flat = space.lmbda, draw(space, random.Random(3))

    def excess(family: Family, seed: int, epoch: int, metric: str = "val_bpp") -> float:
        best = rd_metrics(lmbda, lmbda, 0.0, 0.0)["val_bpp"]
        return 100 * (family.report(flat, seed, epoch)[metric] / best - 1)

    family = Family(space, still)
    final = family.excess(flat)
    assert excess(family, 0, 9) == pytest.approx(final)
    assert excess(family, 0, 1) == pytest.approx(final + still.rise * (9**still.power - 1))
    noisy = Family(space, replace(still, noise=1.0, averaged=0.3))
    raw = [excess(noisy, 0, epoch) - excess(family, 0, epoch) for epoch in range(1, 10)]
    averaged = [
        excess(noisy, 0, epoch, "val_ema_bpp") - excess(family, 0, epoch) for epoch in range(1, 10)
    ]
    assert averaged == pytest.approx([0.3 * value for value in raw])
    assert np.std(raw) > 0
    seeds = [excess(Family(space, replace(still, seed_noise=0.5)), seed, 9) for seed in range(40)]
    assert np.std(seeds) == pytest.approx(0.5, rel=0.35)
    high = flat | {"optimizer.lr": 4.9e-4}
    assert math.isnan(Family(space, PRESETS["good"]).report(high, 0, 9)["val_psnr"])
    moved = Family(space, replace(still, moves=0.2)).report(flat, 0, 9)
    assert moved["val_psnr"] != family.report(flat, 0, 9)["val_psnr"]
    assert Family(space, replace(still, slower=0.5)).seconds(flat, 1) != family.seconds(flat, 1)


def test_a_fit_finds_the_parameters_of_a_family() -> None:
    """Of a search that stopped nobody; the noise of the reference runs is in the trials'."""
    space = phase3("budget.trials=24", "confirm.top=0")
    space = replace(space, scheduler=Fifo(), searcher=Random())
    shape = replace(PRESETS["tiny"], crossing=0.3, rise=2.0, noise=0.3)
    trials = simulate(space, Family(space, shape), slots=4).trials
    found = fit([t for t in trials if len(t.curve(DELTA_RATE)) == 9], 9)
    assert found["averaged"] == pytest.approx(shape.averaged, rel=0.2)
    assert found["noise"] == pytest.approx(shape.noise, rel=0.6)
    assert found["rise"] == pytest.approx(shape.rise, rel=0.4)
    assert found["moves"] == pytest.approx(shape.moves, rel=0.5)


def test_a_search_finds_what_is_good_in_a_family() -> None:
    """Its best trial is better than most configs drawn at random."""
    space = phase3("budget.trials=32", "confirm.top=0")
    family = Family(space, PRESETS["good"], landscape=2)
    best = tuning.simulate(space, family, slots=4, seed=1).best
    assert best is not None
    drawn = [family.excess(draw(space, random.Random(seed))) for seed in range(50)]
    assert family.excess(best.params) < np.quantile(drawn, 0.1)


# --- an experiment as a source --------------------------------------------------------------------


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
