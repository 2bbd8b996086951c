"""The table of HPCM's eleven coding steps: forward, compress and decompress all walk it.

Source: Li et al., ICCV 2025 (arXiv 2507.19125), figure 2, and the authors' code
(github lyq133/LIC-HPCM, commit c271cfe), whose quirks are written out here as plain numbers:

- the adaptor index in the code is ``i - 1`` with ``i`` from 0, so the first step of s2 and of s3
  uses the *last* adaptor of its list; the gain index is not shifted;
- s1 and s2 share one spatial prior network;
- step 1 is coded only from the hyper tensor.

Places are ``(row, column)`` inside a square cell of the grid of the step's scale, one set per
eighth of the latent channels. Each step covers every position of its grid once.
"""

from __future__ import annotations

from dataclasses import dataclass

Places = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CodingStep:
    """One step: which elements it codes and which networks give their scales and means."""

    number: int  # 1..11
    scale: int  # 1, 2, 3: the grid it works on (1/4, 1/2, 1 of the latent's)
    places: tuple[Places, ...]  # per eighth of the channels, the places coded, in one cell
    chunks: int  # the step's symbols are one tensor of M / chunks channels
    adaptor: int | None  # index into the adaptors of the scale
    gain: int | None  # index into the gains of the spatial prior

    @property
    def prior(self) -> str:
        """Attribute of the spatial prior network."""
        return "y_spatial_prior_s3" if self.scale == 3 else "y_spatial_prior_s1_s2"


CELL = {1: 2, 2: 2, 3: 4}  # side of the pattern's cell on the grid of each scale
SCALES = (1, 2, 3)

# Where the s2 elements sit in a 2x2 cell of the latent, per eighth of the channels; and
# where the s1 elements sit in a 2x2 cell of the s2 grid.
S2_IN_S3: Places = ((0, 0), (1, 1), (0, 1), (1, 0)) * 2
S1_IN_S2: Places = ((0, 0),) * 2 + ((0, 1),) * 2 + ((1, 0),) * 2 + ((1, 1),) * 2

_DIAGONAL: Places = ((0, 0), (1, 1))
_OTHER: Places = ((0, 1), (1, 0))

# The eight two-element patterns of a 4x4 cell that s3 is built from.
_A: tuple[Places, ...] = (
    *(((0, 0), (2, 2)), ((0, 2), (2, 0)), ((1, 1), (3, 3)), ((1, 3), (3, 1))),
    *(((0, 1), (2, 3)), ((0, 3), (2, 1)), ((1, 0), (3, 2)), ((1, 2), (3, 0))),
)


def _halves(first: Places, second: Places) -> tuple[Places, ...]:
    return (first,) * 4 + (second,) * 4


def _quarters(*places: tuple[int, int]) -> tuple[Places, ...]:
    return tuple((place,) for place in places for _ in range(2))


def _eighths(*patterns: int) -> tuple[Places, ...]:
    return tuple(_A[pattern] for pattern in patterns)


CODING_ORDER: tuple[CodingStep, ...] = (
    CodingStep(1, 1, _halves(_DIAGONAL, _OTHER), 2, adaptor=None, gain=None),
    CodingStep(2, 1, _halves(_OTHER, _DIAGONAL), 2, adaptor=0, gain=0),
    CodingStep(3, 2, _quarters((1, 1), (1, 0), (0, 1), (0, 0)), 4, adaptor=2, gain=1),
    CodingStep(4, 2, _quarters((1, 0), (1, 1), (0, 0), (0, 1)), 4, adaptor=0, gain=2),
    CodingStep(5, 2, _quarters((0, 1), (0, 0), (1, 1), (1, 0)), 4, adaptor=1, gain=3),
    CodingStep(6, 3, _eighths(2, 4, 6, 0, 3, 5, 7, 1), 8, adaptor=5, gain=4),
    CodingStep(7, 3, _eighths(3, 5, 7, 1, 2, 4, 6, 0), 8, adaptor=0, gain=5),
    CodingStep(8, 3, _eighths(4, 6, 0, 2, 5, 7, 1, 3), 8, adaptor=1, gain=6),
    CodingStep(9, 3, _eighths(5, 7, 1, 3, 4, 6, 0, 2), 8, adaptor=2, gain=7),
    CodingStep(10, 3, _eighths(6, 0, 2, 4, 7, 1, 3, 5), 8, adaptor=3, gain=8),
    CodingStep(11, 3, _eighths(7, 1, 3, 5, 6, 0, 2, 4), 8, adaptor=4, gain=9),
)

SCALE_OF_STEP: tuple[int, ...] = tuple(step.scale for step in CODING_ORDER)


def steps_of(scale: int) -> tuple[CodingStep, ...]:
    """The coding steps on the grid of ``scale``, in order."""
    return tuple(step for step in CODING_ORDER if step.scale == scale)
