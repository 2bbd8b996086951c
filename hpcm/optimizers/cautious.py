"""Adam that moves only where the momentum agrees with the gradient.

Liang et al. 2024, "Cautious Optimizers: Improving Training with One Line of Code", Alg. 2, with
AdamW's decoupled decay and a cap on the rescaling, as in the public code of Balanced R-D.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from hpcm.optimizers.adam import check_adam, moments, set_hot
from hpcm.optimizers.optimizer import OptimizerConfig, Params, as_groups
from hpcm.schema import bounded, config_class, hot

CHUNK = 1 << 16  # elements a CPU thread works on at a time: its cache holds them all along


@config_class
class CautiousAdam(OptimizerConfig):
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
        bounded(self, "cap", least=1)

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
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
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
        """Parameters with a gradient that one call may take, and how many updates they have had."""
        by_step: dict[tuple[int, torch.device, torch.dtype], list[Tensor]] = {}
        for param in group["params"]:
            if param.grad is None:
                continue
            if param.grad.is_sparse:
                raise RuntimeError("cautious_adam has no update for sparse gradients")
            state = self.state[param]
            if not state:
                state.update(fresh_state(param, group["amsgrad"]))
            state["step"] += 1
            by_step.setdefault((state["step"], param.device, param.dtype), []).append(param)
        for (step, *_), params in by_step.items():
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
    """One update, tensor after tensor, each in pieces that stay in a CPU's cache meanwhile."""
    tensors = [_gradient_and_moments(*pair) for pair in zip(params, states, strict=True)]
    room = tensors[0][0].new_empty(max(param.numel() for param in params))
    chunk = CHUNK * torch.get_num_threads()
    for param, own in zip(params, tensors, strict=True):
        if all(tensor.is_contiguous() for tensor in own):
            direction = room[: param.numel()].view_as(param)
            pieces = [tensor.view(-1).split(chunk) for tensor in (direction, *own)]
        else:
            direction = torch.empty_like(own[0])
            pieces = [(tensor,) for tensor in (direction, *own)]
        counts = [
            _direction(*([part] for part in parts), step=step, group=group)[0]
            for parts in zip(*pieces, strict=True)
        ]
        _move([param], [direction], [torch.stack(counts).sum()], group)


def update_together(
    params: list[Tensor], states: list[dict[str, Any]], step: int, group: dict[str, Any]
) -> None:
    """One update of all tensors at once: a few launches on a GPU, however many tensors."""
    tensors = map(_gradient_and_moments, params, states)
    grads, *moments = map(list, zip(*tensors, strict=True))
    directions = [torch.empty_like(exp_avg) for exp_avg in moments[0]]
    agreeing = _direction(directions, grads, *moments, step=step, group=group)
    _move(params, directions, agreeing, group)


def _gradient_and_moments(param: Tensor, state: dict[str, Any]) -> list[Tensor]:
    """(g, m, v) or (g, m, v, v_max): one precision, one layout in memory."""
    moments = [value for key, value in state.items() if key != "step"]
    assert param.grad is not None
    grad = param.grad.to(moments[0].dtype)
    if grad.stride() != moments[0].stride():
        grad = torch.empty_like(moments[0]).copy_(grad)
    return [grad, *moments]


def _direction(
    directions: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    max_exp_avg_sqs: list[Tensor] | None = None,
    *,
    step: int,
    group: dict[str, Any],
) -> list[Tensor]:
    """Update the moments, write -mask m_hat / (sqrt(v_hat) + eps); give how many elements agree.

    mask = 1 where m g > 0, with the new m. The unmasked direction is what Adam's own kernel makes
    of zeros at a learning rate of 1.
    """
    now = torch.full((), float(step), dtype=torch.float32, device=directions[0].device)
    torch._foreach_zero_(directions)
    torch._fused_adam_(
        directions,
        grads,
        exp_avgs,
        exp_avg_sqs,
        max_exp_avg_sqs or [],
        [now] * len(directions),
        amsgrad=bool(max_exp_avg_sqs),
        lr=1.0,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=0.0,
        eps=group["eps"],
        maximize=False,
    )
    masks = list(torch._foreach_mul(exp_avgs, grads))
    agreeing = mask_one_by_one(masks) if masks[0].is_cpu else mask_together(masks)
    torch._foreach_mul_(directions, masks)
    return agreeing


def mask_one_by_one(products: list[Tensor]) -> list[Tensor]:
    """Make each tensor 1 where it is above 0, else 0; give how many ones it has."""
    return [product.gt_(0.0).sum() for product in products]


def mask_together(products: list[Tensor]) -> list[Tensor]:
    """The same in a few launches on a GPU; on a CPU sign and norm are slow."""
    torch._foreach_sign_(products)
    torch._foreach_clamp_min_(products, 0.0)
    return list(torch._foreach_norm(products, 1))


def _move(
    params: list[Tensor],
    directions: list[Tensor],
    agreeing: list[Tensor],
    group: dict[str, Any],
) -> None:
    """theta <- (1 - lr wd) theta + lr s direction; the decay comes first and knows no mask.

    s = min(1 / max(share of the tensor's elements that agree, 1e-3), cap).
    """
    if group["weight_decay"]:
        torch._foreach_mul_(params, 1.0 - group["lr"] * group["weight_decay"])
    scales = torch._foreach_div(agreeing, [float(param.numel()) for param in params])
    torch._foreach_clamp_min_(scales, max(1e-3, 1.0 / group["cap"]))
    torch._foreach_reciprocal_(scales)
    for param, direction, scale in zip(params, directions, scales, strict=True):
        param.addcmul_(direction, scale, value=group["lr"])
