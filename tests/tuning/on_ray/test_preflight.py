"""What is refused before an experiment exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcm import ConfigError
from tests.tuning.lr_space import lr_space
from tuning.on_ray import preflight
from tuning.on_ray.autoscaling import Autoscaling, NodeType

NONE = Autoscaling()
HEAD = {"CPU": 4.0, "node:__internal_head__": 1.0}
GPU = {"CPU": 8.0, "GPU": 1.0}
EIGHT = Autoscaling((NodeType("gpu", 8, GPU),), most_nodes=6)


def nodes(
    monkeypatch: pytest.MonkeyPatch, *resources: dict[str, float], more: Autoscaling = NONE
) -> None:
    found = [{"Alive": True, "Resources": each} for each in resources]
    dead = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    monkeypatch.setattr(preflight.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(preflight.ray, "nodes", lambda: [*found, dead])
    monkeypatch.setattr(preflight, "autoscaling", lambda: more)


@pytest.mark.parametrize(
    ("resources", "cluster", "more", "slots"),
    [
        ({"gpu": 0, "cpu": 1}, [{"CPU": 2.0}], NONE, 2),
        ({"gpu": 0, "cpu": 2}, [{"CPU": 3.0}, {"CPU": 3.0}], NONE, 2),  # no trial spans nodes
        ({"gpu": 1, "cpu": 8}, [{"CPU": 16.0, "GPU": 8.0}, {"CPU": 4.0}], NONE, 2),
        ({"gpu": 0.25, "cpu": 1}, [{"CPU": 16.0, "GPU": 2.0}], NONE, 8),
        ({"gpu": 1, "cpu": 8}, [HEAD], EIGHT, 6),  # an autoscaler will
        ({"gpu": 1, "cpu": 8}, [HEAD, GPU, GPU], EIGHT, 6),  # it has started two of them
        ({"gpu": 0, "cpu": 4}, [HEAD], EIGHT, 1 + 6 * 2),
    ],
)
def test_slots(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    resources: dict[str, Any],
    cluster: list[dict[str, float]],
    more: Autoscaling,
    slots: int,
) -> None:
    nodes(monkeypatch, *cluster, more=more)
    assert preflight.slots(lr_space(tmp_path, resources=resources)) == slots


BIG = [{"CPU": 64.0, "GPU": 8.0}] * 4


@pytest.mark.parametrize(
    ("sections", "cluster", "text"),
    [
        ({"budget": {"trials": 64, "concurrent": 8}}, BIG, "24 of 32 GPUs: budget.concurrent is 8"),
        ({"budget": {"trials": 12}}, BIG, "20 of 32 GPUs: budget.trials is 12"),
        ({"resources": {"gpu": 0, "cpu": 1}}, BIG, "32 of 32 GPUs: resources.gpu is 0"),
        (
            {"resources": {"gpu": 1, "cpu": 16}},
            BIG,
            "16 of 32 GPUs: a trial takes 16 CPU as well, resources.cpu",
        ),
        ({}, BIG, ""),
        ({"resources": {"gpu": 0.25, "cpu": 1}}, BIG[:1], ""),
        (
            {"budget": {"trials": 5}, "resources": {"gpu": 0.25, "cpu": 1}},
            BIG[:1],
            "6 of 8 GPUs: budget.trials is 5",
        ),
        ({}, [{"CPU": 4.0, "GPU": 1.0}], ""),  # none fits here: an autoscaler will start more
        ({"resources": {"gpu": 0, "cpu": 1}}, [{"CPU": 4.0}], ""),
    ],
)
def test_gpus_that_stay_idle_are_told_before_a_search(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
    cluster: list[dict[str, float]],
    text: str,
) -> None:
    nodes(monkeypatch, *cluster)
    given = {"resources": {"gpu": 1, "cpu": 8}} | sections
    given["budget"] = {"concurrent": None} | given.get("budget", {"trials": 64})
    assert preflight.idle_text(lr_space(tmp_path, **given)) == text


def test_a_trial_that_fits_nowhere_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock Ray waits for ever."""
    nodes(monkeypatch, {"CPU": 2.0}, {"CPU": 16.0, "GPU": 1.0})
    space = lr_space(tmp_path, resources={"gpu": 1, "cpu": 32})
    with pytest.raises(
        ConfigError, match="asks for 1 GPU and 32 CPU.*largest has 1 GPU and 16 CPU"
    ):
        preflight.slots(space)


def test_a_trial_that_fits_on_no_node_that_an_autoscaler_may_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight times eight cores are not sixteen on one node."""
    nodes(monkeypatch, HEAD, more=EIGHT)
    space = lr_space(tmp_path, resources={"gpu": 1, "cpu": 16})
    with pytest.raises(ConfigError, match=r"one \(only gpu: 8 x 1 GPU and 8 CPU\)\. Ask for less"):
        preflight.slots(space)


@pytest.mark.parametrize(("asked", "given"), [(None, 4), (2, 2), (9, 4)])
def test_trials_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None, given: int
) -> None:
    nodes(monkeypatch, {"CPU": 4.0})
    space = lr_space(tmp_path, budget={"trials": 8, "concurrent": asked})
    assert preflight.concurrent(space) == given


def test_never_more_at_a_time_than_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, {"CPU": 64.0})
    assert preflight.concurrent(lr_space(tmp_path, budget={"trials": 3, "concurrent": None})) == 3


@pytest.mark.parametrize(
    "objective",
    [
        {"metric": "val_ms_ssim_db", "mode": "max"},
        {"pareto": ["val_bpp", "val_ms_ssim_db"]},
        {"constraints": {"val_ms_ssim_db": {"min": 12.0}}},
    ],
)
def test_an_objective_that_cannot_be_computed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: dict[str, Any]
) -> None:
    """Else every trial would train to its first rung, and fail there."""
    data = {"train": "sample", "val": "sample_val", "crops_per_epoch": 32}
    space = lr_space(tmp_path, objective=objective, base={"data": data})
    monkeypatch.setattr(preflight, "scores_ms_ssim", lambda images: False)
    with pytest.raises(ConfigError, match="val_ms_ssim_db cannot be computed for data.val 'sampl"):
        preflight.check_data(space)
    monkeypatch.setattr(preflight, "scores_ms_ssim", lambda images: True)
    preflight.check_data(space)


def test_missing_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCM_DATA", str(tmp_path))
    space = lr_space(tmp_path, base={"data": {"train": "nowhere", "val": "sample_val"}})
    with pytest.raises(ConfigError, match="nowhere"):
        preflight.check_data(space)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": "nowhere"}, "^data.train: image set 'nowhere': "),
        ({"val": "nowhere"}, "^data.val: image set 'nowhere': "),
        ({"patch": 100}, "^data.patch: 100: must be a multiple of the model's stride, 256"),
        ({"patch": 1024}, "^data.train: image set 'sample': none of its 5 images holds a crop"),
        ({"crops_per_epoch": None, "batch_size": 6}, "^data.batch_size: 6: image set 'sample'"),
    ],
)
def test_what_trials_would_read_is_looked_at_first(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    data = {"train": "sample", "val": "sample_val", "workers": 0, "batch_size": 1}
    base = {"model": {"name": "hpcm_tiny"}, "data": data}
    preflight.check_data(lr_space(tmp_path, base=base))
    with pytest.raises(ConfigError, match=message):
        preflight.check_data(lr_space(tmp_path, base={**base, "data": {**data, **changes}}))


@pytest.mark.parametrize(
    ("path", "choices", "message"),
    [
        ("data.train", ["sample", "nowhere"], "data.train = nowhere: data.train: image set"),
        ("data.patch", [256, 300], "data.patch = 300: data.patch: 300: must be a multiple"),
    ],
)
def test_every_choice_of_what_is_read_is_looked_at(
    tmp_path: Path, path: str, choices: list[Any], message: str
) -> None:
    data = {"train": "sample", "val": "sample_val", "batch_size": 1}
    data.pop(path.removeprefix("data."), None)  # base fixes nothing that is searched
    searched = {path: {"type": "categorical", "choices": choices, "prior": choices[0]}}
    base = {"model": {"name": "hpcm_tiny"}, "data": data, "seed": 0}
    space = lr_space(tmp_path, parameters=searched, base=base)
    with pytest.raises(ConfigError, match=f"^parameters: with {message}"):
        preflight.check_data(space)
