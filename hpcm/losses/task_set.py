"""`TaskSet`: a way to split the rate-distortion cost into the losses that a balancer weighs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hpcm.losses.rate_distortion import LossConfig, RDTerms, rate_distortion

Split = Callable[[Mapping[str, Any], Tensor, LossConfig, RDTerms], list[Tensor]]


@dataclass(frozen=True)
class TaskSet:
    """Named losses, each a distortion or a rate, and of one scale (1, 2, 3) or of none."""

    names: tuple[str, ...]
    kinds: tuple[Literal["D", "R"], ...]
    scales: tuple[int | None, ...]
    split: Split  # (output of the model, images, loss, terms) to one loss per name, each ()
    needs_mse: bool = False  # it splits a mean squared error, which the distortion has to be
    needs_shares: bool = False  # the tasks are not weighed yet: for a balancer that gives shares
    lambda_of_sum: float = 1.0  # the plain sum of the tasks is rd_cost at this times lmbda

    def __post_init__(self) -> None:
        for name, kind in zip(self.names, self.kinds, strict=True):
            if name.startswith("rate") != (kind == "R"):
                raise ValueError(
                    f"task {name!r} is of kind {kind}; a rate is called rate.., no other"
                )

    @property
    def has_scales(self) -> bool:
        """Whether there are losses of each of the scales s1, s2, s3."""
        return {1, 2, 3} <= set(self.scales)

    def __call__(
        self, out: Mapping[str, Any], x: Tensor, loss: LossConfig, terms: RDTerms | None = None
    ) -> Tensor:
        """The losses of a batch, (n,); ``terms`` saves computing the same terms again."""
        if terms is None:
            terms = rate_distortion(out, x, loss.metric)
        return torch.stack(self.split(out, x, loss, terms))  # (n,)
