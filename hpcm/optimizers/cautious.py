"""Adam that moves only where the momentum agrees with the gradient.

Liang et al. 2024, "Cautious Optimizers: Improving Training with One Line of Code", Alg. 2, with
AdamW's decoupled decay and a cap on the rescaling, as in the public code of Balanced R-D.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor

from hpcm.optimizers.adam import Params, as_groups, check_adam, moments, set_hot
from hpcm.schema import config_class, hot

CHUNK = 1 << 16  # elements worked on at a time on a CPU: what its cache holds


@config_class
class CautiousAdam:
    """Cautious Adam with decoupled weight decay, which the mask does not touch."""

    name: Literal["cautious_adam"] = "cautious_adam"
    lr: float = hot(1e-4)  # learning rate before its schedule, > 0
    one_minus_beta1: float = hot(0.1)  # 1 - beta1, in (0, 1]; so that a log scale searches evenly
    one_minus_beta2: float = hot(1e-3)  # 1 - beta2, in (0, 1]
    eps: float = hot(1e-8)  # added to the root of the second moment, > 0
    weight_decay: float = hot(0.0)  # decoupled (shrinks the parameter by lr * this), >= 0
    amsgrad: bool = False  # divide by the largest second moment so far
    cap: float = hot(10.0)  # largest factor that makes up for masked elements, >= 1

    def __post_init__(self) -> None:
        check_adam(self)
        if self.cap < 1:
            raise ValueError(f"cap is {self.cap}; must be 1 or more")

    def build(self, params: Params) -> CautiousAdamOptimizer:
        """The optimizer of ``params``: tensors, or groups that may carry ``lr_mult``."""
        defaults = {"lr": self.lr, "amsgrad": self.amsgrad, **self._hot()}
        return CautiousAdamOptimizer(as_groups(params), defaults)

    def apply(self, optimizer: torch.optim.Optimizer, lr_factor: float) -> None:
        """Set every hot value in every group; ``lr_factor`` multiplies the learning rate."""
        set_hot(optimizer, self.lr * lr_factor, self._hot())

    def _hot(self) -> dict[str, Any]:
        return {"cap": self.cap, **moments(self)}


class CautiousAdamOptimizer(torch.optim.Optimizer):
    """The update itself. Moments of half-precision parameters are float32; no GPU is waited for."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for step, params in self._by_step(group):
                states = [self.state[param] for param in params]
                update = update_one_by_one if params[0].is_cpu else update_together
                update(params, states, step, group)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, except that moments keep their own precision instead of the parameter's."""
        super().load_state_dict(state_dict)
        params = [param for group in self.param_groups for param in group["params"]]
        saved = [i for group in state_dict["param_groups"] for i in group["params"]]
        for param, index in zip(params, saved, strict=True):
            for key, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, Tensor):
                    self.state[param][key] = value.to(param.device, copy=True)

    def _by_step(self, group: dict[str, Any]) -> Iterator[tuple[int, list[Tensor]]]:
        """Parameters with a gradient, by how many updates they have had, this one included."""
        by_step: dict[tuple[int, torch.device], list[Tensor]] = {}
        for param in group["params"]:
            if param.grad is None:
                continue
            if param.grad.is_sparse:
                raise RuntimeError("cautious_adam has no update for sparse gradients")
            state = self.state[param]
            if not state:
                state.update(fresh_state(param, group["amsgrad"]))
            state["step"] += 1
            by_step.setdefault((state["step"], param.device), []).append(param)
        for (step, _), params in by_step.items():
            yield step, params


def fresh_state(param: Tensor, amsgrad: bool) -> dict[str, Any]:
    """Zero moments, in float32 for a half-precision parameter, and no step yet."""
    half = param.dtype in (torch.float16, torch.bfloat16)
    dtype = torch.float32 if half else param.dtype
    names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")[: 3 if amsgrad else 2]
    return {"step": 0, **{name: torch.zeros_like(param, dtype=dtype) for name in names}}


def update_one_by_one(
    params: list[Tensor], states: list[dict[str, Any]], step: int, group: dict[str, Any]
) -> None:
    """One update, tensor after tensor, each in pieces whose many passes stay in a CPU's cache."""
    for param, state in zip(params, states, strict=True):
        _move([param], *_direction_in_pieces(param, state, step, group), step, group)


def update_together(
    params: list[Tensor], states: list[dict[str, Any]], step: int, group: dict[str, Any]
) -> None:
    """One update of all tensors at once: a few launches on a GPU, however many tensors."""
    tensors = zip(*map(_gradient_and_moments, params, states), strict=True)
    _move(params, *_direction(*tensors, step=step, group=group), step, group)


def _gradient_and_moments(param: Tensor, state: dict[str, Any]) -> list[Tensor]:
    """(g, m, v) or (g, m, v, v_max), all in the moments' precision."""
    moments = [value for key, value in state.items() if key != "step"]
    return [param.grad.to(moments[0].dtype), *moments]


def _direction_in_pieces(
    param: Tensor, state: dict[str, Any], step: int, group: dict[str, Any]
) -> tuple[list[Tensor], list[Tensor]]:
    """:func:`_direction` of one tensor on a CPU, in pieces whose passes stay in cache."""
    tensors = _gradient_and_moments(param, state)
    if not all(tensor.is_contiguous() for tensor in tensors):
        return _direction(*([tensor] for tensor in tensors), step=step, group=group)
    direction = torch.empty_like(tensors[1])
    agreeing = tensors[1].new_zeros(())
    pieces = zip(*(t.view(-1).split(CHUNK) for t in (direction, *tensors)), strict=True)
    for target, *piece in pieces:
        (part,), (count,) = _direction(*([t] for t in piece), step=step, group=group)
        target.copy_(part)
        agreeing += count
    return [direction], [agreeing]


def _direction(
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    max_exp_avg_sqs: Sequence[Tensor] = (),
    *,
    step: int,
    group: dict[str, Any],
) -> tuple[list[Tensor], list[Tensor]]:
    """Update the moments; give m mask / (sqrt(v) + eps') and how many elements agree, per tensor.

    mask = 1 where m g > 0, with the new m. eps' = eps sqrt(1 - beta2^t): both bias corrections are
    left to the step size.
    """
    beta1, beta2 = group["betas"]
    torch._foreach_lerp_(exp_avgs, grads, 1.0 - beta1)
    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, grads, grads, 1.0 - beta2)
    if max_exp_avg_sqs:
        torch._foreach_maximum_(max_exp_avg_sqs, exp_avg_sqs)
    denominators = torch._foreach_sqrt(max_exp_avg_sqs or exp_avg_sqs)
    torch._foreach_add_(denominators, group["eps"] * sqrt(1.0 - beta2**step))
    directions = torch._foreach_mul(exp_avgs, grads)
    torch._foreach_sign_(directions)
    torch._foreach_clamp_min_(directions, 0.0)  # the mask: 1 where they agree, else 0
    agreeing = torch._foreach_norm(directions, 1)
    torch._foreach_mul_(directions, exp_avgs)
    torch._foreach_div_(directions, denominators)
    return directions, agreeing


def _move(
    params: list[Tensor],
    directions: list[Tensor],
    agreeing: list[Tensor],
    step: int,
    group: dict[str, Any],
) -> None:
    """theta <- (1 - lr wd) theta - lr' s direction; s = min(1 / max(agreeing share, 1e-3), cap)."""
    beta1, beta2 = group["betas"]
    if group["weight_decay"]:  # decoupled: first, and on every element
        torch._foreach_mul_(params, 1.0 - group["lr"] * group["weight_decay"])
    size = group["lr"] * sqrt(1.0 - beta2**step) / (1.0 - beta1**step)
    scales = torch._foreach_div(agreeing, [float(param.numel()) for param in params])
    torch._foreach_clamp_min_(scales, max(1e-3, 1.0 / group["cap"]))
    torch._foreach_reciprocal_(scales)
    for param, direction, scale in zip(params, directions, scales, strict=True):
        param.addcmul_(direction, scale, value=-size)
