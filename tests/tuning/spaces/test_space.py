"""Search spaces: walking, run configs, rungs, comparison, enumeration, warnings."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpcm.schema import ConfigError
from tests.tuning.small_spaces import Change, drop, put
from tuning import load_space
from tuning.search.grid import GridSearcher
from tuning.spaces.coordinates import Coordinate
from tuning.spaces.draws import combinations, draw
from tuning.spaces.space import SearchSpace


def test_walk_asks_for_active_coordinates_only_parents_first(space: SearchSpace) -> None:
    asked: list[str] = []

    def suggest(coordinate: Coordinate) -> Any:
        asked.append(coordinate.path)
        return {"balancer.name": "famo"}.get(coordinate.path, coordinate.prior)

    flat = space.walk(suggest)
    assert asked == list(flat)
    assert asked == [
        "optimizer.lr",
        "balancer.name",
        "balancer.gamma",
        "regularizers.inter_scale.delta.zero",
    ]


def test_an_inactive_parent_makes_its_children_inactive(space: SearchSpace) -> None:
    paths = {
        "balancer.name": "sum",  # so balancer.gamma_schedule.name is inactive, whatever it was
        "balancer.gamma_schedule.name": "linear",
    }
    flat = space.walk(lambda coordinate: paths.get(coordinate.path, coordinate.prior))
    assert not any("gamma" in path for path in flat)
    paths["balancer.name"] = "famo_per_scale"
    flat = space.walk(lambda coordinate: paths.get(coordinate.path, coordinate.prior))
    assert flat["balancer.gamma_schedule.final"] == 0.5


def test_nonzero_parent(space: SearchSpace) -> None:
    drawn = [draw(space, random.Random(seed)) for seed in range(60)]
    for flat in drawn:
        delta = space.values(flat)["regularizers.inter_scale.delta"]
        assert (delta != 0) == ("regularizers.inter_scale.mode" in flat)
    assert 0 < sum("regularizers.inter_scale.mode" in flat for flat in drawn) < 60


def test_walk_refuses_what_a_coordinate_does_not_allow(space: SearchSpace) -> None:
    prior = space.prior()
    with pytest.raises(ConfigError, match=r"lr: 1\.0; must be float from 1e-05 to 0\.0005"):
        space.active(prior | {"optimizer.lr": 1.0})
    with pytest.raises(ConfigError, match="'fomo'; must be one of sum, famo, famo_per_scale"):
        space.active(prior | {"balancer.name": "fomo"})
    del prior["optimizer.lr"]
    with pytest.raises(ConfigError, match=r"optimizer\.lr: active, but no value was given"):
        space.config(prior)


def test_active_drops_what_is_not(space: SearchSpace) -> None:
    prior = space.prior()
    everything = {coordinate.path: coordinate.prior for coordinate in space.coordinates()}
    assert len(everything) > len(prior)
    assert space.active(everything | {"stray": 1}) == prior


def test_prior_is_the_baseline_exactly(space: SearchSpace) -> None:
    config = space.config(space.prior())
    assert config.optimizer.lr == 5.0e-5
    assert config.balancer.scale_weights == (0.3, 0.4, 0.3)
    assert config.balancer.gamma_schedule.name == "fixed"
    assert config.regularizers.inter_scale.delta == 0
    assert config.data.batch_size == 4
    assert (config.epochs, config.schedule_horizon) == (18, 100)


def test_epochs_truncate_and_never_bend_a_schedule(space: SearchSpace) -> None:
    short = space.config(space.prior(), epochs=2)
    assert (short.epochs, short.schedule_horizon) == (2, 100)
    assert short.with_epochs(18) == space.config(space.prior())


def test_config_leaves_the_space_alone(space: SearchSpace) -> None:
    before = space.to_plain()
    for seed in range(5):
        space.config(draw(space, random.Random(seed)))
    assert space.to_plain() == before


@pytest.mark.parametrize(
    ("change", "rungs"),
    [
        (put("fidelity/max", 18), (2, 6, 18)),
        (put("fidelity/max", 20), (2, 6, 18, 20)),
        (put("fidelity/max", 2), (2,)),
        (put("scheduler", {"reduction_factor": 2}), (2, 4, 8, 16, 18)),
        (lambda data: data.update(scheduler={"name": "fifo"}, fidelity={"max": 18}), (18,)),
    ],
)
def test_rungs(space_file: Callable[..., Path], change: Change, rungs: tuple[int, ...]) -> None:
    assert load_space(space_file(change)).rungs() == rungs


def test_plain_data_and_pickles_make_equal_spaces_without_the_file(
    space_file: Callable[..., Path],
) -> None:
    path = space_file(put("fidelity/max", 20))
    space = load_space(path, "laptop")
    assert space.warnings
    path.unlink()
    for copied in (
        SearchSpace.from_plain(yaml.safe_load(yaml.safe_dump(space.to_plain()))),
        pickle.loads(pickle.dumps(space)),
    ):
        assert copied == space
        assert copied.digest == space.digest
        assert list(copied.parameters) == list(space.parameters)
        assert copied.config(copied.prior()) == space.config(space.prior())


@pytest.mark.parametrize(
    ("change", "path", "breaks"),
    [
        (put("budget/trials", 99), "budget.trials", False),
        (put("resources/cpu", 2), "resources.cpu", False),
        (put("searcher/startup_trials", 5), "searcher.startup_trials", False),
        (put("base/data/workers", 2), "base.data.workers", False),
        (put("base/data/batch_size", 8), "base.data.batch_size", True),
        (put("base/seed", 1), "base.seed", True),
        (put("parameters/optimizer.lr/high", 1e-3), "parameters.optimizer.lr.high", True),
        (put("fidelity/max", 54), "fidelity.max", True),
        (put("objective", {"metric": "val_bpp"}), "objective.metric", True),
        (put("scheduler", {"reduction_factor": 2}), "scheduler.reduction_factor", True),
    ],
)
def test_diff_names_what_changed_and_whether_trials_still_compare(
    space_file: Callable[..., Path], space: SearchSpace, change: Change, path: str, breaks: bool
) -> None:
    new = load_space(space_file(change))
    assert [(c.path, c.breaks) for c in space.diff(new) if c.path != "warnings"] == [(path, breaks)]
    assert (space.digest != new.digest) == breaks


def test_diff_of_profiles_moved_files_and_lost_parameters(
    space_file: Callable[..., Path], space: SearchSpace
) -> None:
    assert space.diff(load_space(space_file())) == []
    moved = [change.path for change in space.diff(load_space(space_file(name="moved")))]
    assert moved == ["name", "path"]
    assert space.digest == load_space(space_file(name="moved")).digest
    assert space.digest != load_space(space_file(), "laptop").digest
    lost = space.diff(load_space(space_file(drop("parameters/balancer.scale_weights"))))
    assert {str(change) for change in lost} >= {
        "parameters.balancer.scale_weights.type: simplex -> nothing"
    }


def test_grid_has_every_combination_once_and_the_prior_first(
    space_file: Callable[..., Path],
) -> None:
    def change(data: dict[str, Any]) -> None:
        data["searcher"] = {"name": "grid"}
        data["parameters"] = {
            "balancer.name": {"type": "categorical", "choices": ["sum", "famo"], "prior": "famo"},
            "balancer.gamma": {
                "type": "categorical",
                "choices": [1.0e-3, 3.0e-3, 5.0e-3],
                "prior": 3.0e-3,
                "when": {"balancer.name": "famo"},
            },
            "seed": {"type": "int", "low": 1, "high": 2, "prior": 2},
        }

    space = load_space(space_file(change))
    points = GridSearcher(space).points
    assert space.prior() == {"balancer.name": "famo", "balancer.gamma": 3e-3, "seed": 2}
    assert points[0] == space.prior()
    assert len(points) == len({tuple(point.items()) for point in points}) == 2 + 3 * 2
    assert len(list(combinations(space, most=5))) == 5
    space = load_space(space_file(lambda data: (change(data), put("budget/trials", 7)(data))))
    assert GridSearcher(space).points == points[:7]
    assert space.warnings == (
        "budget.trials is 7, but the grid has more points: the rest is left out",
    )


def test_warnings_of_what_is_allowed_but_probably_not_meant(
    space_file: Callable[..., Path], space: SearchSpace
) -> None:
    assert space.warnings == ()
    short = load_space(space_file(put("fidelity/max", 20)))
    assert short.warnings == (
        "fidelity.max is 20, which is not 2 * 3^k: the last rung is short (18 to 20)",
    )
    blind = load_space(space_file(put("budget/trials", 12)))
    assert "searcher.startup_trials is 12, budget.trials 12: no trial" in blind.warnings[0]
