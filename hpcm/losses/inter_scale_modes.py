"""How two neighbouring scales' latents are compared: one entry per mode.

``u`` is the coarser latent (B, C, h, w) and ``p`` the finer one, brought to its size and channels.
Each function gives the term of one pair of scales for ``delta = 1``; the training minimises it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

EPS = 1e-12


@dataclass(frozen=True)
class Mode:
    """A term, and how the alignment ``p = A bands`` that it compares with is made."""

    pair: Callable[[Tensor, Tensor], Tensor]
    average: bool  # over the two pairs of scales; else their sum
    bands: Literal[1, 4]  # input channels of A per latent channel: 2 x 2 means, or four Haar bands
    trained: Literal["no", "by_term", "to_predict"]  # what A's own optimizer minimises, if anything
    bounded: bool  # whether growing latents leave the term as it is


def negative_mse(u: Tensor, p: Tensor) -> Tensor:
    """Minus the mean squared distance: the published term, without a lower bound."""
    return -F.mse_loss(u, p)


def negative_l1(u: Tensor, p: Tensor) -> Tensor:
    """Minus the mean absolute distance, without a lower bound."""
    return -F.l1_loss(u, p)


def cosine(u: Tensor, p: Tensor) -> Tensor:
    """The cosine between the flattened latents, mean over images; in [-1, 1]."""
    return F.cosine_similarity(u.flatten(1), p.flatten(1), eps=EPS).mean()


def saturating(u: Tensor, p: Tensor) -> Tensor:
    """``exp(-d) - 1`` with d the squared distance over the latents' own energy; in (-1, 0]."""
    energy = u.detach().square().mean() + p.detach().square().mean()
    return (-F.mse_loss(u, p) / (energy + EPS)).exp() - 1


def squared_correlation(u: Tensor, p: Tensor) -> Tensor:
    """Squared correlation of each channel over (B, h, w), mean over channels; in [0, 1]."""
    u, p = (v.transpose(0, 1).flatten(1) for v in (u, p))  # (C, B h w)
    u, p = (v - v.mean(dim=1, keepdim=True) for v in (u, p))
    covariance = (u * p).mean(dim=1)
    variances = u.square().mean(dim=1) * p.square().mean(dim=1)
    return (covariance.square() / (variances + EPS)).mean()


def prediction_error(u: Tensor, p: Tensor) -> Tensor:
    """Squared error of predicting ``u`` by ``p``, over the variance of ``u``; what A learns by."""
    return F.mse_loss(p, u) / (u.var(correction=0) + EPS)


MODES: dict[str, Mode] = {
    # As in the public code: A stays as it was drawn
    "repo": Mode(negative_mse, average=True, bands=1, trained="no", bounded=False),
    # As in the paper's Eq. 6, with its ablations l1 and cosine
    "paper": Mode(negative_mse, average=False, bands=4, trained="by_term", bounded=False),
    "l1": Mode(negative_l1, average=False, bands=4, trained="by_term", bounded=False),
    "cosine": Mode(cosine, average=False, bands=4, trained="by_term", bounded=True),
    # Ours: the paper's direction with a bound; and a penalty on what can be predicted
    "saturating": Mode(saturating, average=True, bands=4, trained="by_term", bounded=True),
    "rho2": Mode(squared_correlation, average=True, bands=4, trained="to_predict", bounded=True),
}
