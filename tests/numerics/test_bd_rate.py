"""BD-rate: closed forms, recorded values of the package, published claims, and refusals."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from hpcm import ConfigError
from hpcm.evaluation.bd_rate import BDRateError, Curve, Method, bd_quality, bd_rate
from hpcm.evaluation.comparison import compare
from hpcm.evaluation.results import Results

ROOT = Path(__file__).parents[2]
PUBLISHED = json.loads((ROOT / "tests/golden/bd_rate_published.json").read_text())
PAIRS = json.loads((ROOT / "tests/golden/bd_rate_pairs.json").read_text())
PUBLIC_CODE = json.loads((ROOT / "tests/golden/balanced_bd_rate.json").read_text())
METHODS = get_args(Method)

BPP = (0.1211, 0.1757, 0.2729, 0.4125, 0.5898, 0.8209)
PSNR = (29.4022, 30.7547, 32.4012, 34.2063, 36.0145, 37.7525)
BASE = Curve.of("base", BPP, PSNR)


def results(**metrics: Sequence[float]) -> Results:
    values = {key.replace("_", "-"): list(value) for key, value in metrics.items()}
    return Results(name="some", dataset="kodak", results=values)


@pytest.mark.parametrize("method", METHODS)
def test_equal_curves_differ_by_nothing(method: Method) -> None:
    assert bd_rate(BASE, BASE, method) == pytest.approx(0, abs=1e-9)
    assert bd_quality(BASE, BASE, method) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.25])
def test_rates_times_k_give_k_minus_one(method: Method, factor: float) -> None:
    other = Curve.of("other", [factor * rate for rate in BPP], PSNR)
    assert bd_rate(BASE, other, method) == pytest.approx(100 * (factor - 1), abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_decibel_more_is_a_decibel(method: Method) -> None:
    other = Curve.of("other", BPP, [value + 1 for value in PSNR])
    assert bd_quality(BASE, other, method) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_swapping_the_curves_inverts_the_ratio(method: Method) -> None:
    other = Curve.of("other", (0.1, 0.2, 0.4, 0.8), (28.9, 31.5, 34.4, 37.9))
    there, back = bd_rate(BASE, other, method), bd_rate(other, BASE, method)
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1, abs=1e-9)


def test_cubic_is_the_least_squares_polynomial_of_the_original() -> None:
    for case in PAIRS["values"]:
        spans, integrals = [], []
        for side in ("anchor", "test"):
            rates, quality = case[side]["rate"], case[side]["psnr"]
            polynomial = np.polyint(np.polyfit(quality, np.log(rates), 3))
            spans.append((min(quality), max(quality)))
            integrals.append(polynomial)
        low, high = max(span[0] for span in spans), min(span[1] for span in spans)
        mean = [np.polyval(p, high) - np.polyval(p, low) for p in integrals]
        by_hand = 100 * math.expm1((mean[1] - mean[0]) / (high - low))
        found = bd_rate(*(Curve.of(s, *case[s].values()) for s in ("anchor", "test")), "cubic")
        assert found == pytest.approx(by_hand, abs=1e-6)
        assert found == pytest.approx(case["cubic_by_hand"], abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", PAIRS["values"], ids=lambda case: case["name"])
def test_recorded_pairs(case: dict, method: Method) -> None:
    anchor, test = (Curve.of(side, *case[side].values()) for side in ("anchor", "test"))
    expected = case["bd_rate"][method]
    assert bd_rate(anchor, test, method) == pytest.approx(expected, abs=PAIRS["tolerance"])


@pytest.mark.parametrize("case", PUBLIC_CODE["cases"], ids=lambda case: case["name"])
def test_the_public_code_of_balanced_rd_agrees_but_for_its_cubic(case: dict) -> None:
    """Its `cubic` is a spline through all points: the original form for four points only."""
    anchor, test = (Curve.of(side, *case[side].values()) for side in ("anchor", "test"))
    theirs, tolerance = case["published_1000_sample"], PUBLIC_CODE["tolerance_abs"]
    for method in METHODS:
        assert bd_rate(anchor, test, method) == pytest.approx(
            case["bjontegaard_pkg"][method], abs=1e-6
        )
    for method in ("pchip", "akima"):
        assert bd_rate(anchor, test, method) == pytest.approx(theirs[method], abs=tolerance)
    quality = case["published_bd_psnr"]["pchip"]
    assert bd_quality(anchor, test, "pchip") == pytest.approx(quality, abs=tolerance)
    gap = abs(bd_rate(anchor, test, "cubic") - theirs["cubic"])
    assert gap < tolerance if len(anchor.bpp) == 4 else 0.09 < gap < 0.11
    sides = [
        CubicSpline(case[side]["psnr"], np.log(case[side]["rate"])) for side in ("anchor", "test")
    ]
    low = max(min(case[side]["psnr"]) for side in ("anchor", "test"))
    high = min(max(case[side]["psnr"]) for side in ("anchor", "test"))
    mean = [spline.integrate(low, high) / (high - low) for spline in sides]
    assert 100 * math.expm1(mean[1] - mean[0]) == pytest.approx(theirs["cubic"], abs=tolerance)


@pytest.mark.parametrize(
    "case",
    PUBLISHED["values"],
    ids=lambda case: f"{case['anchor']}-{case['test']}-{case['metric']}-{case['method']}",
)
def test_published_curves_give_the_recorded_numbers(case: dict) -> None:
    anchor, test = (
        Results.load(ROOT / f"results/{case[side]}.json") for side in ("anchor", "test")
    )
    found = compare(anchor, test, case["metric"], case["method"])
    assert found.bd_rate == pytest.approx(case["bd_rate"], abs=PUBLISHED["tolerance"])
    if "bd_quality" in case:
        assert found.bd_quality == pytest.approx(case["bd_quality"], abs=PUBLISHED["tolerance"])
    assert (found.anchor, found.test) == (anchor.name, test.name)


@pytest.mark.parametrize("name", PUBLISHED["claims"]["values"])
def test_the_authors_claims_hold_against_a_neighbouring_anchor(name: str) -> None:
    claims = PUBLISHED["claims"]
    anchor = Results.load(ROOT / f"results/{name.split('/')[0]}/vtm_18.0.json")
    found = compare(anchor, Results.load(ROOT / f"results/{name}.json"))
    assert found.bd_rate == pytest.approx(claims["values"][name], abs=claims["tolerance"])


def test_linear_ms_ssim_is_compared_in_decibel() -> None:
    linear = [1 - 10 ** (-value / 10) for value in (13.0, 15.0, 17.0, 19.0)]
    rates = (0.1, 0.2, 0.3, 0.5)
    one = results(bpp=rates, ms_ssim_rgb_db=(13.0, 15.0, 17.0, 19.0))
    other = results(bpp=[2 * rate for rate in rates], ms_ssim_rgb=linear)
    found = compare(one, other, "ms_ssim_db")
    assert found.bd_rate == pytest.approx(100, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((13.0, 19.0))


def test_points_come_in_any_order() -> None:
    assert Curve.of("base", BPP[::-1], PSNR[::-1]) == BASE


def test_codecs_without_a_common_rate_have_a_bd_rate_but_no_bd_quality() -> None:
    cheap = results(bpp=[rate / 100 for rate in BPP], psnr_rgb=PSNR)
    found = compare(results(bpp=BPP, psnr_rgb=PSNR), cheap)
    assert found.bd_rate == pytest.approx(-99)
    assert found.bd_quality is None
    with pytest.raises(BDRateError, match="share no rate"):
        bd_quality(BASE, Curve.of("cheap", [rate / 100 for rate in BPP], PSNR))


REFUSED = {
    "few points": (BPP[:3], PSNR[:3], r"3 points; a BD-rate needs 4 or more; train .* \(1 more\)"),
    "one point": (BPP[:1], PSNR[:1], "bad: 1 point; a BD-rate needs 4 or more"),
    "twice": ((*BPP, BPP[0]), (*PSNR, PSNR[0]), "29.4022 dB is there twice; leave one of the two"),
    "crossing": (BPP, PSNR[::-1], "average more seeds, and leave a point out only if"),
    "falling quality": (BPP, (*PSNR[:-2], 37.0, 36.9), "36.9000 dB at 0.8209 bpp"),
    "equal rates": ((0.1, 0.1, 0.2, 0.3), PSNR[:4], "quality does not rise with rate"),
    "equal quality": (BPP[:4], (30, 31, 31, 32), "quality does not rise with rate"),
    "no number": (BPP[:4], (30, 31, math.nan, 33), "nan dB is not usable"),
    "infinite": (BPP[:4], (30, 31, 32, math.inf), "inf dB is not usable"),
    "no rate": ((0.0, 0.1, 0.2, 0.3), PSNR[:4], "0.0 bpp, .* is not usable"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_curve_that_is_none_is_refused_with_the_reason(name: str) -> None:
    rates, quality, reason = REFUSED[name]
    with pytest.raises(BDRateError, match=reason):
        Curve.of("bad", rates, quality)


def test_too_little_common_quality_is_refused() -> None:
    def shifted(by: float) -> Curve:
        return Curve.of("far", BPP, [value + by for value in PSNR])

    span = PSNR[-1] - PSNR[0]
    bd_rate(BASE, shifted(0.49 * span))
    with pytest.raises(BDRateError, match="too little quality in common: base 29.40 to 37.75 dB"):
        bd_rate(BASE, shifted(0.51 * span))
    with pytest.raises(BDRateError, match="too little quality in common"):
        bd_rate(BASE, shifted(2 * span))


def test_comparisons_that_mean_nothing_are_refused() -> None:
    one = results(bpp=BPP, psnr_rgb=PSNR)
    elsewhere = Results(name="other", dataset="clic2020_mobile", results=one.results)
    with pytest.raises(ConfigError, match="measured on 'kodak', other on 'clic2020_mobile'"):
        compare(one, elsewhere)
    files = [dataclasses.replace(one, conditions={"fingerprint": digit}) for digit in "ab"]
    with pytest.raises(ConfigError, match=r"'kodak', but its files differ \(a and b\)"):
        compare(*files)
    in_db = results(bpp=BPP, ms_ssim_rgb=PSNR)
    with pytest.raises(BDRateError, match="ms-ssim-rgb has 37.7525, but .* name the list ms-ssim"):
        compare(in_db, in_db, "ms_ssim_db")
    small = dataclasses.replace(one, conditions={"ms-ssim-rgb": "not scored: a.png is 64x64"})
    with pytest.raises(BDRateError, match=r"no ms_ssim_db \(not scored: a.png is 64x64\); its"):
        compare(small, small, "ms_ssim_db")
    with pytest.raises(BDRateError, match="has no ms_ssim_db; its metrics: bpp, psnr-rgb"):
        compare(one, one, "ms_ssim_db")
    with pytest.raises(ConfigError, match="metric 'psn' is unknown. Did you mean 'psnr'"):
        compare(one, one, "psn")
    with pytest.raises(ConfigError, match="method 'akina' is unknown. Did you mean 'akima'"):
        compare(one, one, method="akina")  # type: ignore[arg-type]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bjontegaard", None)
    with pytest.raises(ConfigError, match="needs the package bjontegaard"):
        bd_rate(BASE, BASE)
