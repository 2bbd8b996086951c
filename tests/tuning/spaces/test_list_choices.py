"""Choices that are lists, of one field or of several that change together."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpcm.schema import ConfigError
from tuning import load_space
from tuning.page.axes import axes_of, points_of
from tuning.search.grid import GridSearcher
from tuning.search.optuna_encoder import OptunaEncoder
from tuning.spaces.draws import draw
from tuning.spaces.space import SearchSpace

SHARES = [[0.33, 0.33, 0.34], [0.5, 0.3, 0.2], [0.3, 0.4, 0.3], [0.2, 0.3, 0.5]]
GAMMAS = [[0.006, 0.006, 0.006], [0.004, 0.006, 0.008], [0.008, 0.006, 0.004]]
TOGETHER = "balancer.gamma_{s1,s2,s3}"


def space_of(folder: Path, **parameters: dict[str, Any]) -> SearchSpace:
    """Of famo_per_scale; ``parameters`` by their path in the balancer."""
    data = {
        "base": {"balancer": {"name": "famo_per_scale"}},
        "parameters": {
            f"balancer.{path}": {"type": "categorical"} | spec for path, spec in parameters.items()
        },
        "fidelity": {"max": 9},
    }
    path = folder / "lists.yaml"
    path.write_text("# Which?\n" + yaml.safe_dump(data, sort_keys=False))
    return load_space(path)


def test_the_published_ablations_are_their_grids() -> None:
    """All settings, once each, the published default first."""
    scales, gammas = load_space("ablation_scales"), load_space("ablation_gammas")
    found = [scales.config(flat).balancer for flat in GridSearcher(scales).points]
    assert [list(b.scale_weights) for b in found] == [SHARES[2], *SHARES[:2], SHARES[3]]
    found = [gammas.config(flat).balancer for flat in GridSearcher(gammas).points]
    assert [[b.gamma_s1, b.gamma_s2, b.gamma_s3] for b in found] == [GAMMAS[2], *GAMMAS[:2]]


def test_a_searcher_sees_the_text_of_a_list(tmp_path: Path) -> None:
    space = space_of(tmp_path, scale_weights={"choices": SHARES, "prior": SHARES[2]})
    (coordinate,) = space.coordinates()
    assert coordinate.choices == tuple(json.dumps(share) for share in SHARES)
    distribution = OptunaEncoder(space).distributions["balancer.scale_weights"]
    assert distribution.to_external_repr(1) == "[0.5, 0.3, 0.2]"
    flat = draw(space, random.Random(1))
    assert (
        json.loads(flat["balancer.scale_weights"]) == space.values(flat)["balancer.scale_weights"]
    )
    assert SearchSpace.from_plain(json.loads(json.dumps(space.to_plain()))) == space


def test_a_condition_may_ask_for_a_list(tmp_path: Path) -> None:
    w_lr = {"choices": [0.01, 0.02], "prior": 0.01, "when": {"balancer.scale_weights": [SHARES[1]]}}
    weights = {"choices": SHARES, "prior": SHARES[2]}
    space = space_of(tmp_path, scale_weights=weights, w_lr=w_lr)
    assert list(space.prior()) == ["balancer.scale_weights"]
    with pytest.raises(ConfigError, match=r"can never be 0\.5; one of \[0\.33"):
        space_of(
            tmp_path,
            scale_weights=weights,
            w_lr=w_lr | {"when": {"balancer.scale_weights": SHARES[1]}},
        )


def test_the_page_has_an_axis_of_lists(tmp_path: Path) -> None:
    space = space_of(tmp_path, scale_weights={"choices": SHARES, "prior": SHARES[2]})
    axes = axes_of(space)
    assert axes[0].choices[1] == "[0.5, 0.3, 0.2]"
    assert points_of(space.values(space.prior()), axes) == ["[0.3, 0.4, 0.3]"]


@pytest.mark.parametrize(
    ("path", "spec", "message"),
    [
        ("scale_weights", {"choices": [*SHARES, 1], "prior": 1}, "choices holds 1; must be finite"),
        ("scale_weights", {"choices": [*SHARES, []], "prior": []}, r"choices holds \[\]; must"),
        ("scale_weights", {"choices": [[[1]], [[2]]], "prior": [[1]]}, r"holds \[\[1\]\]; must"),
        ("scale_weights", {"choices": [{"a": 1}], "prior": {"a": 1}}, "all lists of them"),
        ("scale_weights", {"choices": [*SHARES, SHARES[0]], "prior": SHARES[0]}, "twice"),
        (
            "scale_weights",
            {"choices": SHARES, "prior": [1, 2, 3]},
            r"prior: \[1, 2, 3\], not one of",
        ),
        ("scale_weights", {"choices": [[0.5, 0.5]], "prior": [0.5, 0.5]}, "no config can be built"),
        ("gamma_{s1,s2,s3}", {"choices": [1, 2], "prior": 1}, "names 3 fields; must be a categ"),
        (
            "gamma_{s1,s2,s3}",
            {"choices": [[1, 2]], "prior": [1, 2]},
            "whose choices are lists of 3",
        ),
        ("gamma_{s1,s9}", {"choices": [[1, 2]], "prior": [1, 2]}, "no such field. Did you mean"),
        (
            "gamma_{s1,s2,s3}",
            {"choices": [[-1, 0, 0]], "prior": [-1, 0, 0]},
            r"balancer\.gamma_s1: -1",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, path: str, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space_of(tmp_path, **{path: spec})


def test_a_field_is_searched_once(tmp_path: Path) -> None:
    one = {"choices": [0.1, 0.2], "prior": 0.1}
    both = {"choices": GAMMAS, "prior": GAMMAS[2]}
    with pytest.raises(ConfigError, match=r"balancer\.gamma_s2 is searched as .* already"):
        space_of(tmp_path, **{"gamma_s2": one, "gamma_{s1,s2,s3}": both})
    with pytest.raises(ConfigError, match=r"base fixes it to 0\.1"):
        load_space("ablation_gammas", overrides=["base.balancer.gamma_s1=0.1"])
