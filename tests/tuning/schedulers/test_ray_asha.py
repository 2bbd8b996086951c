"""Ray's ASHA as a judge: its decisions as they are, its brackets from our seed."""

from __future__ import annotations

import numpy as np
import pytest

from tuning.schedulers.ray_asha import RayAshaRule, seeded
from tuning.spaces.scheduler_sections import RayAsha

#: Trial, epoch, score, whether Ray lets it go on, rank and peers; rungs 1, 3, 9.
TABLE = [
    (1, 1, 9.0, True, 1, 1),  # the first always goes on
    (2, 1, 8.0, True, 1, 2),  # and whoever is better than the one before
    (3, 1, 8.5, False, 2, 3),  # cut-off between 9 and 8 at two thirds: 8.33
    (4, 1, 8.0, True, 1, 4),  # equal to the best
    (1, 2, 99.0, True, 0, 0),  # no rung
    (1, 3, 7.0, True, 1, 1),
    (2, 3, 7.0, True, 1, 2),  # equal scores are never stopped
    (4, 3, 7.1, False, 3, 3),
]


def test_by_hand() -> None:
    rule = RayAshaRule(RayAsha(), 1, 9)
    for trial, epoch, score, goes, rank, peers in TABLE:
        verdict = rule.judge(trial, epoch, score)
        assert (verdict.reason is None, verdict.rank, verdict.peers) == (goes, rank, peers), trial
    assert verdict.reason == "rank 3 of 3"


def test_a_bracket_is_drawn_from_the_seed_and_the_trial_alone() -> None:
    """In Ray the draw takes from NumPy's global generator, which nobody seeds."""

    def chosen(order: list[int], seed: int) -> dict[int, int]:
        rule = RayAshaRule(RayAsha(brackets=3, seed=seed), 1, 27)
        for trial in order:
            np.random.random()
            rule.judge(trial, 1, 1.0)
        return rule._bracket

    numbers = list(range(30))
    assert chosen(numbers, 0) == chosen(numbers[::-1], 0) != chosen(numbers, 1)
    assert set(chosen(numbers, 0).values()) == {0, 1, 2}


def test_a_late_bracket_has_no_early_rung() -> None:
    rule = RayAshaRule(RayAsha(brackets=3), 1, 27)
    scores = {trial: float(trial) for trial in range(40)}
    stopped = {t for t, score in scores.items() if rule.judge(t, 1, score).reason is not None}
    late = {t for t, bracket in rule._bracket.items() if bracket > 0}
    assert late
    assert stopped
    assert not late & stopped


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    with seeded(1, 2):
        first = np.random.random()
    assert (np.random.random(3) == expected).all()
    with seeded(1, 2):
        assert np.random.random() == first


@pytest.mark.parametrize(("field", "value"), [("brackets", 0), ("reduction_factor", 1)])
def test_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{field} is {value}; must be"):
        RayAsha(**{field: value})
