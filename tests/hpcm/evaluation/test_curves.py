"""Points to curves: joined in order of rate, averaged over seeds."""

from __future__ import annotations

import dataclasses
import statistics

import pytest

from hpcm import ConfigError
from hpcm.evaluation.curves import join, over_seeds
from hpcm.evaluation.results import Results


def point(bpp: float, psnr: float, name: str = "a", **source: object) -> Results:
    return Results(
        name=name,
        dataset="kodak",
        results={"bpp": [bpp], "psnr-rgb": [psnr]},
        conditions={"rate": "estimated", "images": 2},
        points=[{"checkpoint": name, **source}],
        images=[
            {"point": 0, "image": f"{i}.png", "bpp": bpp + i, "psnr-rgb": psnr} for i in (0, 1)
        ],
    )


def grid(*runs: tuple[float, int, float]) -> Results:
    """Of (lmbda, seed, bpp), the dB as many as the lmbda's thousandths."""
    points = [point(bpp, 1000 * lmbda, lmbda=lmbda, seed=seed) for lmbda, seed, bpp in runs]
    return join(points, "grid")


def test_points_join_to_a_curve_in_order_of_rate() -> None:
    curve = join([point(0.5, 33.0, "high"), point(0.1, 28.0, "low")], "both")
    assert curve.results == {"bpp": [0.1, 0.5], "psnr-rgb": [28.0, 33.0]}
    assert curve.points == [{"checkpoint": "low"}, {"checkpoint": "high"}]
    assert {(row["point"], row["psnr-rgb"]) for row in curve.images} == {(0, 28.0), (1, 33.0)}


@pytest.mark.parametrize(
    "changes", [{"dataset": "tecnick"}, {"conditions": {"rate": "real"}}, {"results": {"bpp": [1]}}]
)
def test_points_of_different_measurements_do_not_join(changes: dict) -> None:
    other = dataclasses.replace(point(0.1, 28.0, "other"), **changes)
    with pytest.raises(ConfigError, match="^other: "):
        join([point(0.5, 33.0), other], "both")


def test_seeds_are_averaged_at_each_lmbda() -> None:
    mean = over_seeds(grid((0.03, 2, 0.42), (0.01, 2, 0.12), (0.03, 1, 0.4), (0.01, 1, 0.1)))
    assert mean.results["bpp"] == pytest.approx([0.11, 0.41])
    assert mean.results["psnr-rgb"] == pytest.approx([10, 30])
    assert [(p["lmbda"], p["seed"], p["checkpoint"]) for p in mean.points] == [
        (0.01, [1, 2], "a"),
        (0.03, [1, 2], "a"),
    ]
    assert mean.points[0]["sd"]["bpp"] == pytest.approx(statistics.stdev([0.1, 0.12]))
    rows = {(r["point"], r["seed"], r["image"]): r["bpp"] for r in mean.images}
    assert len(rows) == len(mean.images) == 8
    assert rows[0, 2, "0.png"] == 0.12
    assert rows[1, 1, "1.png"] == 1.4
    for index, expected in enumerate([0.11, 0.41]):
        values = [r["bpp"] for r in mean.images if r["point"] == index]
        assert statistics.fmean(values) == pytest.approx(expected + 0.5)
    assert over_seeds(mean) == mean


def test_one_seed_a_point_and_points_without_a_seed_stay_as_they_are() -> None:
    for curve in (
        grid((0.01, 1, 0.1), (0.03, 1, 0.4)),
        grid((0.01, 1, 0.1), (0.03, 2, 0.4)),
        join([point(0.1, 28.0), point(0.5, 33.0)], "files of weights"),
    ):
        assert over_seeds(curve) is curve


REFUSED = {
    "hole": (
        ((0.01, 1, 0.1), (0.01, 2, 0.1), (0.03, 1, 0.4)),
        "grid: seed 2 has no point at lmbda 0.03; evaluate that one too, or leave seed 2 out",
    ),
    "twice": (
        ((0.01, 1, 0.1), (0.01, 1, 0.12)),
        "grid: 2 points have lmbda 0.01 and seed 1; .* into different files",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_seeds_that_cannot_be_averaged_are_refused(name: str) -> None:
    runs, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        over_seeds(grid(*runs))


def test_points_trained_for_different_metrics_make_no_curve() -> None:
    mixed = join([point(0.1, 28.0, metric="mse"), point(0.5, 33.0, metric="ms_ssim")], "mixed")
    with pytest.raises(ConfigError, match="mixed: points trained for ms_ssim and mse make no"):
        over_seeds(mixed)
