"""Scores of other photographs or weights under the same name are not compared; without Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import hpcm
from hpcm.schema import ConfigError
from tests.tuning.lr_space import lr_space
from tuning.ledger import folders
from tuning.ledger.ledger import Ledger
from tuning.on_ray import experiment
from tuning.on_ray.experiment import Experiment
from tuning.on_ray.node_facts import input_facts
from tuning.on_ray.preflight import trial_inputs
from tuning.on_ray.session import Listeners
from tuning.spaces.sections import Reference
from tuning.spaces.space import SearchSpace

EARLIER = "rates-1"


class ReachedRayError(Exception):
    """Nothing was refused before Ray is asked for."""


def photograph(path: Path, grey: int, side: int = 300) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (side, side), (grey, grey, grey)).save(path)


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchSpace:
    """A space that trains on two photographs of ours, and an experiment of it that read them."""

    def no_ray(address: str | None) -> Any:
        raise ReachedRayError

    monkeypatch.setattr(experiment, "cluster", no_ray)
    monkeypatch.setenv("HPCM_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    for number in range(2):
        photograph(tmp_path / "data" / "mine" / f"{number}.png", 50 * number)
    made = lr_space(tmp_path)
    data = {**made.base["data"], "train": "mine", "val": "mine", "crops_per_epoch": 32}
    space = replace(made, base={**made.base, "data": data})
    folders.write_experiment(tmp_path / EARLIER, space, read=input_facts(trial_inputs(space)))
    return space


def start(space: SearchSpace, directory: Path, *, resumed: bool) -> None:
    """Run an experiment until it asks for Ray."""
    Experiment(
        space,
        Ledger(directory),
        resumed,
        earlier=[],
        references={},
        study=None,  # type: ignore[arg-type]
        checkpoints=None,
        listeners=Listeners(),
    ).run(hpcm.train, None, {})


def reusing(space: SearchSpace) -> SearchSpace:
    given = Reference(experiment=EARLIER)
    return replace(space, objective=replace(space.objective, reference=given))


def test_a_resume_on_other_photographs_of_that_name_is_refused(
    tmp_path: Path, space: SearchSpace
) -> None:
    with pytest.raises(ReachedRayError):
        start(space, tmp_path / EARLIER, resumed=True)
    photograph(tmp_path / "data" / "mine" / "1.png", 50, side=400)
    with pytest.raises(
        ConfigError, match="^--resume rates-1: .*\n  image set mine: 2 images, .* -> "
    ):
        start(space, tmp_path / EARLIER, resumed=True)


def test_reference_runs_of_other_photographs_of_that_name_are_refused(
    tmp_path: Path, space: SearchSpace
) -> None:
    with pytest.raises(ReachedRayError):
        start(reusing(space), tmp_path / "rates-2", resumed=False)
    photograph(tmp_path / "data" / "mine" / "2.png", 90)
    with pytest.raises(
        ConfigError, match=r"^objective.reference.experiment: rates-1: .*\n.*3 images"
    ):
        start(reusing(space), tmp_path / "rates-2", resumed=False)
    assert not (tmp_path / "rates-2").exists()


def test_an_experiment_that_did_not_record_its_inputs_goes_on(
    tmp_path: Path, space: SearchSpace
) -> None:
    folders.write_experiment(tmp_path / EARLIER, space)
    photograph(tmp_path / "data" / "mine" / "1.png", 50, side=400)
    with pytest.raises(ReachedRayError):
        start(space, tmp_path / EARLIER, resumed=True)
