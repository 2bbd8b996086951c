"""The page on run configs says what the code does."""

from __future__ import annotations

import pytest

from hpcm.config import TrainConfig
from hpcm.config_page import PAGE, config_page, described
from hpcm.losses import REGULARIZERS
from hpcm.optimizers import BALANCERS, OPTIMIZERS
from hpcm.optimizers.gamma_schedules import GAMMA_SCHEDULES, SCALE_GAMMA_SCHEDULES
from hpcm.schema import fields_of


def test_page_is_current(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--regenerate"):
        PAGE.write_text(config_page(), encoding="utf-8")
        pytest.fail(f"WRITTEN {PAGE.name}: read the diff, then run without --regenerate")
    assert PAGE.read_text(encoding="utf-8") == config_page()


def test_every_field_is_explained() -> None:
    owners = dict.fromkeys(info.owner for info in fields_of(TrainConfig))
    names = {(info.owner, info.path.rpartition(".")[2]) for info in fields_of(TrainConfig)}
    for owner in owners:
        for name, comment, _ in described(owner):
            explained = comment or name == "name" or (owner, name) not in names
            assert explained, f"{owner.__name__}.{name} has no comment at the end of its line"


@pytest.mark.parametrize("name", [*OPTIMIZERS, *BALANCERS])
def test_every_choice_has_a_heading_and_says_what_it_is(name: str) -> None:
    section = "optimizer" if name in OPTIMIZERS else "balancer"
    lines = config_page().splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith(f"### `{section}.name: {name}`")]
    assert len(lines[at + 2]) > 20


def test_every_other_part_is_on_the_page() -> None:
    page = config_page()
    for name in REGULARIZERS:
        assert f"### `regularizers.{name}`" in page
    for name in [*GAMMA_SCHEDULES, *SCALE_GAMMA_SCHEDULES]:
        assert f"\n| `{name}` | " in page


def test_a_hot_field_is_marked_and_its_default_is_yaml() -> None:
    page = config_page()
    assert "| `clip_max_norm` | total gradient norm, > 0 | `1.0` | hot |" in page
    assert "| `epochs` | epochs run; truncates, never bends a schedule | `3000` |  |" in page
    assert "`null`" in page
    assert "None" not in page
