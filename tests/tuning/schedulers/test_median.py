"""The median stopping rule: by hand, and against Ray's own class."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers import MedianStoppingRule

from tuning.schedulers.median import MedianRule

#: Trial, epoch, score, and whether the trial goes on; grace 2, two peers. Worked out by hand.
TABLE = [
    (1, 1, 9.0, True),
    (2, 1, 1.0, True),
    (3, 1, 5.0, True),  # 5 is worse than both, but the grace lasts until 2
    (1, 2, 4.0, True),  # nobody else is there
    (2, 2, 2.0, True),  # one other is there
    (3, 2, 3.0, True),  # best 3 <= median of the means 4 and 2
    (4, 2, 3.1, False),  # best 3.1 > median of 4, 2 and 3
    (1, 3, 3.0, True),  # only 1 is at 3
    (2, 3, 6.0, True),
    (3, 3, 3.9, True),  # best 3 <= median of (4 + 3) / 2 and (2 + 6) / 2, which is 3.75
    (5, 2, 1.0, True),
    (5, 3, 9.9, True),  # its best counts, not its last
    (6, 3, 3.5, True),  # means 3.5, 4, 3.45, 5.45: median 3.75
    (7, 3, 3.8, False),  # and now with 3.5: median 3.5
]


def test_by_hand() -> None:
    rule = MedianRule(grace=2, min_peers=2)
    said = [rule.judge(trial, epoch, score).reason for trial, epoch, score, _ in TABLE]
    assert [reason is None for reason in said] == [goes for *_, goes in TABLE]
    assert said[6] == "its best is worse than the median of 3 trials' means"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("grace", "peers", "every"), [(1, 3, 1), (4, 2, 1), (3, 3, 2)])
def test_decides_as_ray(seed: int, grace: int, peers: int, every: int) -> None:
    """Random curves in a random order; who is stopped reports no more, to either."""
    rng = np.random.default_rng(seed)
    ray = MedianStoppingRule("epoch", "score", "min", grace, peers)
    controller = SimpleNamespace(get_live_trials=list)
    ours = MedianRule(grace, peers)
    level, stopped = rng.normal(size=12), 0
    epochs = dict.fromkeys(range(12), 0)
    while epochs:
        trial = int(rng.choice(list(epochs)))
        epochs[trial] += every
        score = float(level[trial] + rng.normal() + 4 / epochs[trial])
        result = {"epoch": epochs[trial], "score": score}
        theirs = ray.on_trial_result(controller, SimpleStub(trial), result)
        verdict = ours.judge(trial, epochs[trial], score)
        assert (verdict.reason is not None) == (theirs == "STOP")
        stopped += theirs == "STOP"
        if theirs == "STOP" or epochs[trial] >= 20:
            del epochs[trial]
    assert 0 < stopped < 12


class SimpleStub:
    """A trial as Ray's rule keeps it: by its hash."""

    def __init__(self, number: int) -> None:
        self.trial_id = str(number)

    def __hash__(self) -> int:
        return hash(self.trial_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SimpleStub) and other.trial_id == self.trial_id
