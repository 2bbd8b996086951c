"""The published hierarchical loss with shares that are learnt (AdaptiveHierarchicalLoss).

Kept to show what it does. The shares are learnt by the loss they define, and one of the three
shares of the distortion is in no task: minimising the sum moves all of the distortion there.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hpcm.losses.rate_distortion import LossConfig, RDTerms, rate_distortion
from hpcm.losses.tasks import TASK_SETS

# Published as initial shares, but used as logits: the softmax makes them (0.36, 0.34, 0.31) and
# (0.32, 0.36, 0.32).
DISTORTION_LOGITS = (0.40, 0.35, 0.25)
RATE_LOGITS = (0.30, 0.40, 0.30)


class LearnedShares(nn.Module):
    """Tasks like published5's, with the shares as softmaxes of two parameters.

    The parameters are for an optimizer of the caller's; published, none had them, so the shares
    stayed where they start.
    """

    def __init__(self) -> None:
        super().__init__()
        warnings.warn(
            "learned shares degenerate: the third share of the distortion is in no task, so "
            "minimising the tasks' sum sends it to 1 and the distortion out of the loss",
            UserWarning,
            stacklevel=2,
        )
        published = TASK_SETS["published5"]
        self.names, self.kinds, self.scales = published.names, published.kinds, published.scales
        self.metrics, self.sums_to_rd_cost = published.metrics, False
        self.distortion_logits = nn.Parameter(torch.tensor(DISTORTION_LOGITS))
        self.rate_logits = nn.Parameter(torch.tensor(RATE_LOGITS))

    def forward(
        self, out: Mapping[str, Any], x: Tensor, loss: LossConfig, terms: RDTerms | None = None
    ) -> Tensor:
        """The losses of a batch, (5,), with ``lmbda`` on the mean squared error without 255^2."""
        if terms is None:
            terms = rate_distortion(out, x, loss.metric)
        d1, d2, _ = self.distortion_logits.softmax(0) * loss.lmbda * terms.mse
        r1, r2, r3 = self.rate_logits.softmax(0) * terms.bpp
        return torch.stack([d1, r1, d2, r2, r3])  # (5,)
