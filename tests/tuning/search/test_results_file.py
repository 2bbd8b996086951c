"""A grid that somebody ran by hand, as evidence: what is read of it, and each thing that is not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hpcm import ConfigError
from tests.tuning.lr_space import lr_space
from tests.tuning.search.test_warm_start import new_search, starts
from tests.tuning.small_spaces import put, write
from tuning import load_space
from tuning.search import warm_start
from tuning.search.results_file import read_results_file
from tuning.spaces.space import SearchSpace

METRICS = warm_start.KEPT[1:]
HEAD = "optimizer.lr,balancer.name,balancer.gamma,regularizers.inter_scale.delta,val_rd_cost"
FAMO = "1e-4,famo,0.003,0,1.5"


def space_of(folder: Path) -> SearchSpace:
    return load_space(write(folder, put("searcher", {"name": "tpe"})), "laptop")


def written(folder: Path, *lines: str) -> str:
    path = folder / "grid.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def problems(folder: Path, *lines: str) -> list[str]:
    """What is said of a file of these lines, without its path."""
    path = written(folder, *lines)
    with pytest.raises(ConfigError) as caught:
        read_results_file(path, space_of(folder), METRICS)
    message = str(caught.value).splitlines()
    return [line.removeprefix(f"{path}: ") for line in message]


def test_a_grid_by_hand(tmp_path: Path) -> None:
    """Spaces, an empty line, a mark of the encoding, values as a run config has them."""
    space = space_of(tmp_path)
    lines = (
        "\ufeffoptimizer.lr, balancer.name, balancer.gamma, regularizers.inter_scale.delta,"
        "regularizers.inter_scale.mode, balancer.scale_weights, balancer.gamma_schedule.name,"
        "epoch, val_rd_cost, val_bpp",
        "1e-4, famo, 0.003, 0, , , , 18, 1.5, 0.4",
        "",
        '2e-4, famo_per_scale, , 0.1, l1, "[0.2, 0.2, 0.6]", fixed, 2, 1.7,',
        '2e-4, famo_per_scale, , 0.1, l1, "[0.2, 0.2, 0.6]", fixed, 6, 1.6,',
        "5e-4, sum, , 0, , , , 18, nan,",
    )
    trials = read_results_file(written(tmp_path, *lines), space, METRICS)
    assert [(t.state, t.epochs, t.diverged) for t in trials] == [
        ("finished", 18, False),
        ("stopped", 6, False),
        ("failed", 18, True),
    ]
    assert trials[0].reports == [{"epoch": 18.0, "val_rd_cost": 1.5, "val_bpp": 0.4}]
    assert trials[1].curve("val_rd_cost") == {2: 1.7, 6: 1.6}
    values = space.values(trials[1].params)
    assert values["balancer.scale_weights"] == pytest.approx([0.2, 0.2, 0.6])
    assert values["regularizers.inter_scale.delta"] == 0.1
    assert space.values(trials[0].params)["regularizers.inter_scale.delta"] == 0.0
    for trial in trials:
        assert space.active(trial.params) == trial.params


def test_a_choice_may_be_a_list(tmp_path: Path) -> None:
    space = load_space("ablation_gammas", "laptop")
    (path,) = space.parameters
    lines = f'"{path}",delta_rate', '"[0.004, 0.006, 0.008]",-1.5'
    (trial,) = read_results_file(written(tmp_path, *lines), space, METRICS)
    assert space.values(trial.params) == {path: [0.004, 0.006, 0.008]}


def test_json_may_have_sections(tmp_path: Path) -> None:
    space, path = space_of(tmp_path), tmp_path / "grid.json"
    row = {
        "optimizer": {"lr": 1e-4},
        "balancer": {"name": "famo", "gamma": 0.003, "scale_weights": None},
        "regularizers.inter_scale.delta": 0,
        "val_rd_cost": 1.5,
    }
    path.write_text(json.dumps([row]))
    (found,) = read_results_file(str(path), space, METRICS)
    (same,) = read_results_file(written(tmp_path, HEAD, FAMO), space, METRICS)
    assert (found.params, found.reports) == (same.params, same.reports)
    path.write_text(json.dumps({"trials": [row]}))
    with pytest.raises(ConfigError, match=r"grid.json: must be a list of objects"):
        read_results_file(str(path), space, METRICS)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0.1,sum,,0,1.5", "optimizer.lr: 0.1; must be float from 1e-05 to 0.0005"),
        ("fast,sum,,0,1.5", "optimizer.lr: 'fast'; must be float from 1e-05 to 0.0005"),
        ("1e-4,mean,,0,1.5", "balancer.name: 'mean'; must be one of sum, famo, famo_per_scale"),
        ("1e-4,famo,,0,1.5", "balancer.gamma: missing, and it is active here"),
        (
            "1e-4,sum,0.003,0,1.5",
            "balancer.gamma: 0.003, but it is not active: only if balancer.name is famo",
        ),
        (
            "1e-4,sum,,0.001,1.5",
            "regularizers.inter_scale.delta: 0.001; must be float from 0.01 to 0.3 or 0",
        ),
        ("1e-4,sum,,0,", "val_rd_cost: missing; the objective needs it"),
        (
            "1e-4,sum,,0,good",
            "val_rd_cost: 'good'; must be a number, or nan of a run that diverged",
        ),
        (",sum,,0,1.5", "optimizer.lr: missing, and it is active here"),
    ],
)
def test_a_row_that_is_wrong_is_named(tmp_path: Path, row: str, message: str) -> None:
    assert problems(tmp_path, HEAD, FAMO, row) == [f"row 2: {message}"]


@pytest.mark.parametrize("given", ["[0.2, 0.2]", "[0.2, 0.2, 0.7]", '["a", 0.4, 0.6]', "0.3"])
def test_shares_that_are_none(tmp_path: Path, given: str) -> None:
    path = tmp_path / "grid.json"
    row = {"optimizer.lr": 1e-4, "balancer.name": "famo_per_scale", "val_rd_cost": 1.5}
    more = {
        "balancer.scale_weights": json.loads(given),
        "balancer.gamma_schedule.name": "fixed",
        "regularizers.inter_scale.delta": 0,
    }
    path.write_text(json.dumps([row | more]))
    with pytest.raises(ConfigError) as caught:
        read_results_file(str(path), space_of(tmp_path), METRICS)
    shown = f"balancer.scale_weights: {json.loads(given)!r}"
    message = "must be 3 numbers of at least 0.05 that sum to 1"
    assert str(caught.value) == f"{path}: row 1: {shown}; {message}"


def test_every_row_that_is_wrong_is_named(tmp_path: Path) -> None:
    bad = [f"{rate},sum,,0,1.5" for rate in range(1, 26)]
    found = problems(tmp_path, HEAD, FAMO, *bad)
    assert len(found) == 21
    assert [line.split(":")[0] for line in found[:20]] == [f"row {n}" for n in range(2, 22)]
    assert found[-1] == "and 5 more problems"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("val_rd_costs", "1", "row 1: val_rd_costs: unknown. Did you mean 'val_rd_cost'?"),
        ("epoch", "0", "row 1: epoch: 0; must be a whole number from 1 to fidelity.max, 18"),
        ("epoch", "19", "row 1: epoch: 19; must be a whole number from 1 to fidelity.max, 18"),
        ("mode", "max", "row 1: mode: 'max', but of val_rd_cost it is min"),
        ("loss.lmbda", "0.05", "row 1: loss.lmbda: 0.05, but this space trains with 0.013"),
        ("model.name", "hpcm_large", "row 1: model.name: 'hpcm_large', but this space trains with"),
        ("optimizer.beta_2", "1", "row 1: optimizer.beta_2: unknown"),
        ("balancer.learning_rate", "1", "row 1: balancer.learning_rate: unknown"),
    ],
)
def test_other_columns(tmp_path: Path, column: str, value: str, message: str) -> None:
    (line,) = problems(tmp_path, f"{HEAD},{column}", f"{FAMO},{value}")
    assert line.startswith(message)


def test_what_is_the_same_in_the_base_passes(tmp_path: Path) -> None:
    lines = f"{HEAD},loss.lmbda,model.name,mode", f"{FAMO},0.013,hpcm_tiny,min"
    assert len(read_results_file(written(tmp_path, *lines), space_of(tmp_path), METRICS)) == 1


def test_one_config_twice_needs_a_seed(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, HEAD, FAMO, FAMO)
    assert line.startswith("row 2: epoch: the same config and epoch as row 1; a column seed")
    lines = f"{HEAD},seed", f"{FAMO},1", f"{FAMO},2"
    assert len(read_results_file(written(tmp_path, *lines), space_of(tmp_path), METRICS)) == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "has no rows"),
        ((HEAD,), "has no rows"),
        ((HEAD, "1e-4,sum"), "row 1: 2 cells, and the first line names 5 columns"),
        ((f"{HEAD},val_rd_cost", f"{FAMO},1"), "the column 'val_rd_cost' stands twice in the"),
        ((f"{HEAD},", f"{FAMO},1"), "the column '' has no name"),
        ((HEAD, '1e-4,"sum,,0,1.5'), "row 1: not CSV: "),
    ],
)
def test_what_is_no_table(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    (line,) = problems(tmp_path, *lines)
    assert line.startswith(message)


def named(*names: str, **more: Any) -> dict[str, Any]:
    return {"name": "tpe", "startup_trials": 3, "prior_share": 0.0, "warm_start": names} | more


def test_the_searcher_learns_from_it_and_a_resume_does_not_need_it(tmp_path: Path) -> None:
    rows = [f"{rate},{1 + rate * 1000}" for rate in (1e-4, 2e-4, 5e-4, 1e-3)]
    path = written(tmp_path, "optimizer.lr,val_rd_cost", *rows)
    space = lr_space(tmp_path, searcher=named(path))
    (earlier,) = warm_start.gather(space, tmp_path, tmp_path / "none")
    assert str(earlier) == f"4 of 4 trials of {path}"
    search, ledger = new_search(tmp_path, space)
    first = starts(search, 3)
    assert [record.source for record in ledger.records()] == ["prior", "tpe", "tpe"]
    ledger.close()
    Path(path).unlink()
    (tmp_path / "rates-new" / "ledger.jsonl").unlink()
    search, ledger = new_search(tmp_path, space)
    assert starts(search, 3) == first
    ledger.close()


def test_a_file_is_refused_with_the_key(tmp_path: Path) -> None:
    space = lr_space(tmp_path, searcher=named(str(tmp_path / "none.csv")))
    message = re.escape(f"searcher.warm_start: {tmp_path}/none.csv: cannot be read: No such file")
    with pytest.raises(ConfigError, match=message):
        warm_start.gather(space, tmp_path, tmp_path / "none")
    path = written(tmp_path, "optimizer.lr,val_bpp", "1,2", "1e-4,2")
    space = lr_space(tmp_path, searcher=named(path))
    with pytest.raises(ConfigError) as caught:
        warm_start.gather(space, tmp_path, tmp_path / "none")
    assert str(caught.value).splitlines() == [
        f"searcher.warm_start: {path}: row 1: val_rd_cost: missing; the objective needs it",
        f"searcher.warm_start: {path}: row 1: optimizer.lr: 1; must be float from 1e-06 to 0.01",
        f"searcher.warm_start: {path}: row 2: val_rd_cost: missing; the objective needs it",
    ]
