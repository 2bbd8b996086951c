"""The spectra of inspected images as a picture: what is lost, and what each scale carries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpcm.evaluation.inspection import Inspection, Spectrum
from hpcm.evaluation.results import written
from hpcm.extra_packages import require

_PANELS = {
    "pictures (grey)": {
        "image": {"color": "black", "linestyle": "-"},
        "reconstruction": {"color": "#b5283d", "linestyle": "--"},
        "error": {"color": "#1a7fb5", "linestyle": "-."},
    },
    "y_hat, as far as it is known after each scale": {
        "s1": {"color": "#4a148c", "linestyle": ":", "marker": "o"},
        "s2": {"color": "#1a7fb5", "linestyle": "--", "marker": "s"},
        "s3": {"color": "#e08a00", "linestyle": "-", "marker": "^"},
    },
}


def mean_spectrum(spectra: Sequence[Spectrum]) -> Spectrum:
    """The mean power of several images, at the frequencies of the one with the fewest bins.

    One without any frequency does not count, unless there is no other.
    """
    spectra = [one for one in spectra if len(one.frequency)] or spectra[:1]
    fewest = min(spectra, key=lambda one: len(one.frequency))
    if not len(fewest.frequency):
        return fewest
    powers = [np.interp(fewest.frequency, one.frequency, one.power) for one in spectra]
    return Spectrum(fewest.frequency, np.mean(powers, axis=0))


def save_spectra(path: Path, inspections: Sequence[Inspection]) -> None:
    """Draw mean power over frequency into ``path``, of a kind that matplotlib knows.

    Raises :class:`ConfigError` without matplotlib, or if the file cannot be written.
    """
    require("matplotlib", "matplotlib", "a picture of spectra")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, (title, kinds) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        _draw(axes, title, kinds, inspections)
    with written(path):
        figure.savefig(path, dpi=130)


def _draw(
    axes: Any, title: str, kinds: dict[str, dict[str, str]], inspections: Sequence[Inspection]
) -> None:
    for kind, style in kinds.items():
        found = mean_spectrum([one.spectra[kind] for one in inspections])
        axes.semilogy(found.frequency, found.power, label=kind, markersize=4, **style)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("frequency [cycles per pixel]")
    axes.set_ylabel("power")
    axes.grid(color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
