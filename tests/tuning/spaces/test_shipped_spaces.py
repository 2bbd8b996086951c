"""Every search space that ships, under every profile: it loads, and its configs can be built."""

from __future__ import annotations

import random
from functools import cache

import pytest

from tuning import load_space
from tuning.spaces.documents import SHIPPED, shipped_spaces
from tuning.spaces.draws import draw
from tuning.spaces.space import SearchSpace

loaded = cache(load_space)
CASES = [
    (name, profile)
    for name in shipped_spaces()
    for profile in loaded(name).profiles
]  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case), scope="module")
def shipped(request: pytest.FixtureRequest) -> SearchSpace:
    """One space under one profile."""
    return loaded(*request.param)


def test_spaces_ship() -> None:
    assert {"phase1", "phase3"} <= set(shipped_spaces())


def test_random_walks_build_valid_configs(shipped: SearchSpace) -> None:
    generator = random.Random(11)
    seen: set[str] = set()
    for _ in range(500):
        flat = draw(shipped, generator)
        shipped.config(flat)
        seen |= set(flat)
    assert seen == {coordinate.path for coordinate in shipped.coordinates()}


def test_prior_is_a_member_and_comes_back_as_written(shipped: SearchSpace) -> None:
    prior = shipped.prior()
    assert shipped.active(prior) == prior
    values = shipped.values(prior)
    for path, value in values.items():
        parameter = shipped.parameters[path]
        assert parameter.contains(value)
        assert value == (list(parameter.prior) if isinstance(value, list) else parameter.prior)


def test_nothing_to_warn_about_and_a_question_at_the_top(shipped: SearchSpace) -> None:
    assert shipped.warnings == ()
    assert shipped.question.endswith("?") or "? " in shipped.question


FULL_RUN = {"phase4": 500}  # epochs; fine-tuning is shorter


def test_what_a_profile_is_for(shipped: SearchSpace) -> None:
    config = shipped.config(shipped.prior())
    if shipped.profile == "laptop":
        assert shipped.resources.gpu == 0
        assert shipped.fidelity.horizon == shipped.fidelity.max
        assert (config.data.train, config.data.val) == ("sample", "sample_val")
        assert config.model.name == "hpcm_tiny"
    else:
        assert shipped.resources.gpu >= 1
        assert config.model.name == "hpcm_base"
        assert shipped.fidelity.horizon == FULL_RUN.get(shipped.name, 3000)


def test_the_same_question_under_every_profile() -> None:
    for name in shipped_spaces():
        cluster = loaded(name)
        for profile in cluster.profiles:
            assert loaded(name, profile).parameters == cluster.parameters


def test_headers_name_the_command() -> None:
    for name in shipped_spaces():
        header = (SHIPPED / f"{name}.yaml").read_text().split("\nname:")[0].split("\nextends:")[0]
        assert f"python tune.py --space {name}" in header
