"""Results files with values per seed and image, made from formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hpcm.evaluation.curves import join, over_seeds
from hpcm.evaluation.results import Results

LMBDAS = (0.0018, 0.0067, 0.025, 0.0483)
RATES = (0.1, 0.2, 0.4, 0.8)  # bits per pixel
DECIBELS = (28.0, 31.0, 34.0, 37.0)

#: (point, seed, image) to a factor of the rate
Factor = Callable[[int, int, int], float]


def scored(
    name: str,
    factor: Factor,
    *,
    seeds: Sequence[int] = (1,),
    images: int = 6,
    dataset: str = "kodak",
    decibels: Sequence[float] = DECIBELS,
) -> Results:
    """A curve of RATES times ``factor`` over ``decibels``, every image and seed with its own."""
    points = []
    for index, (lmbda, rate, value) in enumerate(zip(LMBDAS, RATES, decibels, strict=True)):
        for seed in seeds:
            rows = [
                {
                    "point": 0,
                    "image": f"{image:02d}.png",
                    "bpp": rate * factor(index, seed, image),
                    "psnr-rgb": value,
                }
                for image in range(images)
            ]
            mean = {k: [sum(r[k] for r in rows) / images] for k in ("bpp", "psnr-rgb")}
            source = {"lmbda": lmbda, "seed": seed, "metric": "mse"}
            points.append(Results(name, dataset, mean, points=[source], images=rows))
    return over_seeds(join(points, name))
