"""What a scheduler cannot do is refused, what it does strangely is told, and all can be chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcm.schema import ConfigError
from tests.tuning.lr_space import lr_space
from tuning import load_space
from tuning.spaces.grammar import SECTIONS
from tuning.watching.cost import estimate


@pytest.mark.parametrize("name", SECTIONS["scheduler"])
def test_a_shipped_space_takes_any_scheduler(name: str) -> None:
    metric = ["objective.metric=val_rd_cost"] if name == "pbt" else []  # it refuses delta_rate
    space = load_space("phase3", "laptop", [f"scheduler.name={name}", *metric])
    assert space.scheduler.name == name
    assert type(space).from_plain(space.to_plain()) == space


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"scheduler": {"name": "median"}}, r"scheduler\.name: median is gone; use promote"),
        ({"scheduler": {"name": "ray_asha"}}, r"scheduler\.name: ray_asha is gone; use asha"),
        ({"scheduler": {"name": "pb2"}}, r"scheduler\.name: pb2 is gone; use pbt"),
        (
            {"scheduler": {"name": "bohb"}},
            r"'bohb' is unknown; allowed: asha, fifo, hyperband, pbt, promote$",
        ),
        (
            {"scheduler": {"name": "fifo"}, "fidelity": {"min": 3}},
            r"fidelity\.min: 3, but fifo has no rungs; leave it out",
        ),
        (
            {"scheduler": {"name": "hyperband", "reduction_factor": 1}},
            r"scheduler\.reduction_factor: 1; must be 2 or more",
        ),
        (
            {"scheduler": {"name": "promote", "step": 0.1}},
            r"scheduler\.step: unknown",
        ),
    ],
)
def test_refused(tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lr_space(tmp_path, **sections)


def test_a_finalist_of_a_population_has_no_config_to_train_again(tmp_path: Path) -> None:
    mutable = {"type": "float", "low": 1e-6, "high": 1e-2, "prior": 1e-4, "mutable": True}
    sections = {"parameters": {"optimizer.lr": mutable}, "scheduler": {"name": "pbt"}}
    lr_space(tmp_path, **sections)
    with pytest.raises(ConfigError, match=r"confirm\.top: 1, but under pbt a config changes"):
        lr_space(tmp_path, **sections, confirm={"top": 1})


@pytest.mark.parametrize(
    ("sections", "warning"),
    [
        ({"scheduler": {"name": "hyperband"}}, "one round of hyperband's brackets has 17"),
        (
            {"scheduler": {"name": "asha", "reduction_factor": 2}},
            "fidelity.max is 9, which is not 1 * 2^k: the last rung is short (8 to 9)",
        ),
        (
            {"scheduler": {"name": "pbt"}, "fidelity": {"min": 2}},
            "fidelity.max is 9, which is not a multiple of 2: the last interval is short (8 to 9)",
        ),
        ({"scheduler": {"name": "pbt"}, "fidelity": {"min": 3}}, None),
    ],
)
def test_told(tmp_path: Path, sections: dict[str, Any], warning: str | None) -> None:
    mutable = {"type": "float", "low": 1e-6, "high": 1e-2, "prior": 1e-4, "mutable": True}
    space = lr_space(tmp_path, parameters={"optimizer.lr": mutable}, **sections)
    found = [line for line in space.warnings if not line.startswith("searcher")]
    assert [line for line in found if warning and warning in line] == found
    assert bool(found) == bool(warning)


def test_the_cost_knows_the_brackets(tmp_path: Path) -> None:
    """Nine trials to 1, three and the prior to 3, one and it to 9; then five to 3, one to 9."""
    space = lr_space(tmp_path, scheduler={"name": "hyperband"}, budget={"trials": 14})
    bracket_1 = 9 * 1 + 4 * 2 + 2 * 6
    bracket_2 = 5 * 3 + 1 * 6
    cost = estimate(space, None)
    assert (cost.likely_epochs, cost.most_epochs) == (bracket_1 + bracket_2, 14 * 9)
    fifo = lr_space(tmp_path, scheduler={"name": "fifo"}, budget={"trials": 14})
    assert estimate(fifo, None).likely_epochs == 14 * 9


def test_a_population_has_no_use_for_trainings_that_end_by_themselves(tmp_path: Path) -> None:
    mutable = {"type": "float", "low": 1e-6, "high": 1e-2, "prior": 1e-4, "mutable": True}
    patience = {"type": "int", "low": 5, "high": 9, "prior": 5}
    searched = {"optimizer.lr": mutable, "early_stopping.patience": patience}
    refused = r"scheduler\.name: pbt, but early_stopping\.patience may end a training for good"
    with pytest.raises(ConfigError, match=refused):
        lr_space(tmp_path, parameters=searched, scheduler={"name": "pbt"})
    one = {"parameters": {"optimizer.lr": mutable}, "scheduler": {"name": "pbt"}}
    with pytest.raises(ConfigError, match=refused):
        lr_space(tmp_path, **one, base={"early_stopping": {"patience": 5}})
    lr_space(tmp_path, **one, base={"early_stopping": {"patience": 0}})
