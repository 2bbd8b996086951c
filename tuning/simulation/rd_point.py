"""The metrics of a report on a codec's rate-distortion curve, or at a distance from it.

The curve doubles the rate for 3.01 dB, so that rate times distortion is constant on it and the cost
at one lmbda has its minimum where the plain sum's own training would end, with lmbda D = R there.
For another lmbda the minimum moves by half an octave of rate per octave of lmbda. What is worse
needs more rate for the same quality; what sits elsewhere on the curve needs none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

PIXEL = 255.0**2  # lmbda weighs the error of pixel values from 0 to 255
RATE, LMBDA = 0.5, 0.013  # bits per pixel at this lmbda


def rd_metrics(lmbda: float, own: float, excess: float, place: float) -> dict[str, float]:
    """What validation reports, raw, of one model.

    ``lmbda``: of the run; ``own``: that of the cost, the space's; ``excess``: percent of rate above
    the best curve at equal quality, above -100; ``place``: octaves of rate along the curve from the
    run's own optimum. Gives ``val_bpp``, ``val_psnr`` (dB), ``val_mse`` (of values from 0 to 1),
    ``val_ms_ssim_db`` and ``val_rd_cost`` (bits per pixel); NaN in all if ``excess`` is NaN.
    """
    best_rate = RATE * math.sqrt(own / LMBDA)
    octaves = 0.5 * math.log2(lmbda / own) + place
    mse = best_rate / (own * PIXEL) * 2**-octaves
    bpp = best_rate * 2**octaves * (1 + excess / 100)
    psnr = -10 * math.log10(mse)
    if math.isnan(excess):
        mse = psnr = math.nan
    return {
        "val_bpp": bpp,
        "val_psnr": psnr,
        "val_mse": mse,
        "val_ms_ssim_db": psnr - 16.0,
        "val_rd_cost": lmbda * PIXEL * mse + bpp,
    }


def of_average(metrics: Mapping[str, float]) -> dict[str, float]:
    """The same metrics under the names of the averaged weights."""
    return {name.replace("val_", "val_ema_", 1): value for name, value in metrics.items()}
