"""The difference in rate at every point: closed forms, reach, and the sentence about its sign."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hpcm import ConfigError
from hpcm.evaluation.bd_rate import BDRateError
from hpcm.evaluation.interval import doubt
from hpcm.evaluation.rate_difference import RateDifference, rate_differences, row_text, sign_change
from hpcm.evaluation.results import Results
from tests.hpcm.evaluation.scored_curves import DECIBELS, LMBDAS, RATES, scored

pytestmark = pytest.mark.usefixtures("few_draws")

BASE = scored("base", lambda point, seed, image: 1.0)


def curve(rates: tuple[float, ...], decibels: tuple[float, ...], name: str = "test") -> Results:
    return Results(name, "kodak", {"bpp": list(rates), "psnr-rgb": list(decibels)})


def test_at_equal_quality_a_tenth_less_rate_is_a_tenth() -> None:
    found = rate_differences(BASE, scored("test", lambda point, seed, image: 0.9))
    assert [s.percent for s in found] == pytest.approx([-10] * 4)
    assert [(s.position, s.lmbda) for s in found] == list(enumerate(LMBDAS, 1))
    assert not any(s.extended for s in found)
    for one in found:
        assert one.interval is not None
        assert (one.interval.low, one.interval.high) == pytest.approx((-10, -10))


def test_between_and_beyond_the_anchors_points() -> None:
    """The anchor doubles its rate every 3 dB, so its rate at any quality is known."""
    decibels = (27.2, 29.5, 31.7, 37.9)
    exact = [0.1 * 2 ** ((value - 28) / 3) for value in decibels]
    found = rate_differences(BASE, curve(tuple(0.8 * rate for rate in exact), decibels))
    assert [s.percent for s in found] == pytest.approx([-20] * 4)
    assert [s.extended for s in found] == [True, False, False, True]
    assert [s.label for s in found] == [f"point {n}" for n in (1, 2, 3, 4)]


def test_what_is_further_than_a_decibel_or_half_the_range_away_is_not_known() -> None:
    far = rate_differences(BASE, curve(RATES, (26.9, 31, 34, 38.1)))
    assert [s.percent is None for s in far] == [True, False, False, True]
    short = curve((0.1, 0.12), (30.0, 30.4), "short")
    near = rate_differences(short, curve((0.1, 0.1, 0.1), (29.85, 30.2, 30.65)))
    assert [s.percent is None for s in sorted(near, key=lambda s: s.quality)] == [0, 0, 1]


def test_points_that_make_no_curve_have_differences_all_the_same() -> None:
    falling = curve((0.1, 0.2), (31.0, 28.0))
    found = {s.quality: s.percent for s in rate_differences(BASE, falling)}
    assert found == pytest.approx({31.0: -50, 28.0: 100})


def test_an_anchor_that_is_no_curve_is_refused() -> None:
    with pytest.raises(BDRateError, match="quality does not rise"):
        rate_differences(curve(RATES, DECIBELS[::-1]), BASE)
    with pytest.raises(ConfigError, match="measured on 'kodak'"):
        rate_differences(BASE, dataclasses.replace(BASE, name="other", dataset="tecnick"))


def test_a_change_of_sign_is_said() -> None:
    factors = (0.97, 0.99, 1.0, 1.02)
    found = rate_differences(BASE, scored("test", lambda point, seed, image: factors[point]))
    assert sign_change(found) == (
        "The sign changes: less rate at lmbda 0.0018 (3.00 %), lmbda 0.0067 (1.00 %); "
        "more rate at lmbda 0.0483 (2.00 %). Intervals on both sides exclude 0."
    )
    assert sign_change(found[:3]) == ""
    assert sign_change([]) == ""


def test_a_change_of_sign_inside_the_intervals_may_be_chance() -> None:
    def factor(point: int, seed: int, image: int) -> float:
        return (0.99, 1, 1, 1.01)[point] + (image - 2.5) / 10

    found = rate_differences(BASE, scored("test", factor))
    said = "All intervals of {} hold 0, so the change of sign may be chance."
    assert sign_change(found).endswith(said.format("both sides"))
    assert found[-1].interval is not None
    above = dataclasses.replace(found[-1].interval, low=0.5, high=1.5)
    sure = [*found[:-1], dataclasses.replace(found[-1], interval=above)]
    assert sign_change(sure).endswith(said.format('"less rate"'))
    bare = [dataclasses.replace(one, interval=None) for one in found]
    assert sign_change(bare).endswith("more rate at lmbda 0.0483 (1.00 %).")


def test_an_unknown_difference_has_no_sign() -> None:
    unknown = RateDifference(1, 0.01, 40.0, None, extended=True)
    assert sign_change([unknown, dataclasses.replace(unknown, percent=1.0)]) == ""


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ((-2.0, 30.0, (-2.5, -1.0), False), "-2.00 % [-2.50, -1.00]"),
        ((2.0, 30.0, None, True), "+2.00 %, beyond the points of the anchor"),
        ((None, 41.0, None, True), "not known, 41.00 dB is out of the anchor's reach"),
    ],
)
def test_a_difference_in_words(row: tuple[Any, ...], text: str) -> None:
    assert row_text(*row) == text


def test_an_interval_that_holds_zero_is_in_doubt() -> None:
    assert doubt((-1.0, 2.0)) == doubt((0.0, 2.0)) == ": not distinguishable from none"
    assert doubt((-2.0, -1.0)) == doubt((1.0, 2.0)) == doubt(None) == ""
