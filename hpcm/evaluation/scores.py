"""Rate and quality from a results file: as points of a curve, or of every seed and image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpcm.evaluation.bd_rate import BDRateError
from hpcm.evaluation.results import Results
from hpcm.schema import ConfigError, did_you_mean

#: metric of a comparison: (key in a results file, whether it must be turned into dB first), by rank
_KEYS = {
    "psnr": (("psnr-rgb", False), ("psnr", False)),
    "ms_ssim_db": (("ms-ssim-rgb-db", False), ("ms-ssim-rgb", True), ("ms-ssim", True)),
}
METRICS = tuple(_KEYS)


class NoIntervalError(ValueError):
    """Results from which no interval can be drawn; the message says why."""


@dataclass(frozen=True)
class Scores:
    """Rate and quality of every point under every seed and on every image: (points, seeds, images).

    ``quality`` is in dB, or linear MS-SSIM if the file's mean is one of linear values.
    """

    bpp: NDArray[np.float64]
    quality: NDArray[np.float64]
    linear: bool
    seeds: tuple[int, ...]  # () for one training whose seed is not known
    images: tuple[str, ...]

    def curve(
        self, by_seed: NDArray[np.float64], by_image: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Bits per pixel and dB of each point, (draws, points), for weights of sum 1.

        ``by_seed`` is (draws, seeds), ``by_image`` (draws, images).
        """
        bpp, quality = (
            np.einsum("psi,ds,di->dp", values, by_seed, by_image, optimize=True)
            for values in (self.bpp, self.quality)
        )
        return bpp, (-10 * np.log10(1 - quality) if self.linear else quality)


def points_of(results: Results, metric: str) -> tuple[list[float], list[float]]:
    """Bits per pixel and quality in dB of each point, in the order of the file.

    ``metric`` is ``psnr`` or ``ms_ssim_db``. Raises :class:`BDRateError` if the file has it not or
    not in its unit, :class:`ConfigError` for another metric.
    """
    key, linear = _key(results, metric)
    values = results.results[key]
    if linear and any(value > 1 for value in values):
        raise BDRateError(
            f"{results.name}: {key} has {max(values):g}, but MS-SSIM is at most 1",
            f"if these are decibels, name the list ms-ssim-rgb-db (it is {key} now)",
        )
    return results.results["bpp"], [_decibel(v) for v in values] if linear else values


def scores_of(results: Results, metric: str) -> Scores:
    """The values of each seed and image. Raises :class:`NoIntervalError` if some lack."""
    key, linear = _key(results, metric)
    rows = {
        (int(row["point"]), row.get("seed"), str(row["image"])): row
        for row in results.images
        if "image" in row and all(isinstance(row.get(name), int | float) for name in ("bpp", key))
    }
    if not rows:
        raise NoIntervalError(f"{results.name} has no values per image")
    points = range(len(results.results["bpp"]))
    seeds = sorted({seed for _, seed, _ in rows}, key=str)
    images = sorted({image for _, _, image in rows})
    if len(rows) != len(points) * len(seeds) * len(images):
        raise NoIntervalError(f"{results.name} lacks the values of some images, seeds or points")

    def cube(name: str) -> NDArray[np.float64]:
        values = [[[rows[p, s, i][name] for i in images] for s in seeds] for p in points]
        return np.array(values, dtype=np.float64)

    return Scores(cube("bpp"), cube(key), linear, _known(results, seeds), tuple(images))


def _known(results: Results, seeds: Sequence[object]) -> tuple[int, ...]:
    """The seeds of the rows; of a file with one training a point, the seed that all points have."""
    if seeds == [None]:
        seeds = list(dict.fromkeys(point.get("seed") for point in results.points))
    numbers = tuple(seed for seed in seeds if isinstance(seed, int))
    return numbers if len(numbers) == len(seeds) else ()


def _key(results: Results, metric: str) -> tuple[str, bool]:
    if metric not in _KEYS:
        raise ConfigError(f"metric {metric!r} is unknown{did_you_mean(metric, _KEYS)}")
    for key, linear in _KEYS[metric]:
        if key in results.results:
            return key, linear
    note = results.conditions.get("ms-ssim-rgb", "")
    why = f" ({note})" if metric == "ms_ssim_db" and "not scored" in str(note) else ""
    raise BDRateError(
        f"{results.name}: has no {metric}{why}; its metrics: {', '.join(results.results)}",
        "compare by a metric that both files have",
    )


def _decibel(similarity: float) -> float:
    return -10 * math.log10(1 - similarity) if similarity < 1 else math.inf
