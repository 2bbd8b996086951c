"""Adam that moves only where the momentum agrees with the gradient.

Liang et al. 2024, "Cautious Optimizers: Improving Training with One Line of Code", Alg. 2, with
AdamW's decoupled decay and a cap on the rescaling, as in the public code of Balanced R-D.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hpcm.optimizers.adam import AdamConfig
from hpcm.optimizers.optimizer import Params, as_groups
from hpcm.schema import bounded, config_class, hot

CHUNK = 1 << 17  # elements a CPU thread works on at a time: its cache holds them all along


@config_class
class CautiousAdam(AdamConfig):
    """Cautious Adam with decoupled weight decay, which the mask does not touch."""

    skips_on_device: ClassVar[bool] = True
    name: Literal["cautious_adam"] = "cautious_adam"
    lr: float = hot(1e-4)  # learning rate before its schedule, > 0
    one_minus_beta1: float = hot(0.1)  # 1 - beta1, in (0, 1]; so that a log scale searches evenly
    one_minus_beta2: float = hot(1e-3)  # 1 - beta2, in (0, 1]
    eps: float = hot(1e-8)  # added to the root of the second moment, > 0
    weight_decay: float = hot(0.0)  # decoupled (shrinks the parameter by lr * this), >= 0
    amsgrad: bool = False  # divide by the largest second moment so far
    cap: float = hot(10.0)  # largest factor that makes up for masked elements, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        bounded(self, "cap", least=1)

    def build(self, params: Params) -> CautiousAdamOptimizer:
        """The optimizer of ``params``: tensors, or groups that may carry ``lr_mult``."""
        defaults = {"lr": self.lr, "amsgrad": self.amsgrad, **self.hot_values()}
        return CautiousAdamOptimizer(as_groups(params), defaults)

    def hot_values(self) -> dict[str, Any]:
        """The cap too."""
        return {"cap": self.cap, **super().hot_values()}


class CautiousAdamOptimizer(torch.optim.Optimizer):
    """The update itself. Moments of half-precision parameters are float32; no GPU is waited for."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            for params in self._of_a_kind(group):
                states = [self.state[param] for param in params]
                update = update_one_by_one if params[0].is_cpu else update_together
                update(params, states, group, found_inf)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, except that moments keep their own precision instead of the parameter's.

        Steps that earlier versions counted on the host are read too.
        """
        super().load_state_dict(state_dict)
        params = [param for group in self.param_groups for param in group["params"]]
        saved = [i for group in state_dict["param_groups"] for i in group["params"]]
        for param, index in zip(params, saved, strict=True):
            for key, value in state_dict["state"].get(index, {}).items():
                found = torch.as_tensor(value, dtype=torch.float32) if key == "step" else value
                self.state[param][key] = found.to(param.device, copy=True)

    def _of_a_kind(self, group: dict[str, Any]) -> list[list[Tensor]]:
        """The parameters with a gradient, in groups that one call may take."""
        kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for param in group["params"]:
            if param.grad is None:
                continue
            if param.grad.is_sparse:
                raise RuntimeError("cautious_adam has no update for sparse gradients")
            state = self.state[param]
            if not state:
                state.update(fresh_state(param, group["amsgrad"]))
            kinds.setdefault((param.device, param.dtype), []).append(param)
        return list(kinds.values())


def fresh_state(param: Tensor, amsgrad: bool) -> dict[str, Tensor]:
    """Zero moments, in float32 for a half-precision parameter, and no step yet."""
    half = param.dtype in (torch.float16, torch.bfloat16)
    dtype = torch.float32 if half else param.dtype
    names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")[: 3 if amsgrad else 2]
    step = torch.zeros((), dtype=torch.float32, device=param.device)
    return {"step": step, **{name: torch.zeros_like(param, dtype=dtype) for name in names}}


def update_one_by_one(
    params: list[Tensor],
    states: list[dict[str, Tensor]],
    group: dict[str, Any],
    found_inf: Tensor | None = None,
) -> None:
    """One update, tensor after tensor, each in pieces that stay in a CPU's cache meanwhile.

    As everywhere here: none of parameters, moments and steps moves if ``found_inf`` is 1.
    """
    tensors = [_gradient_and_moments(*pair) for pair in zip(params, states, strict=True)]
    steps = _next_steps(states)
    chunk = CHUNK * torch.get_num_threads()
    largest = max(param.numel() for param in params)
    room, masks = (tensors[0][0].new_empty(largest) for _ in range(2))
    _decay(params, group, found_inf)
    for param, own, step in zip(params, tensors, steps, strict=True):
        direction, mask = (_laid_out_as(own[0], buffer) for buffer in (room, masks))
        pieces = [(tensor,) for tensor in (direction, mask, *own)]
        if param.numel() > chunk and all(tensor.is_contiguous() for tensor in own):
            pieces = [tensor.view(-1).split(chunk) for (tensor,) in pieces]
        counts = []
        for part, agrees, grad, *moved in zip(*pieces, strict=True):
            _direction([part], [grad], [[moment] for moment in moved], [step], group, found_inf)
            torch.mul(moved[0], grad, out=agrees)
            counts.append(agrees.gt_(0.0).sum())
            part.mul_(agrees)
        count = counts[0] if len(counts) == 1 else torch.stack(counts).sum()
        param.addcmul_(direction, _scale(count, param.numel(), group), value=group["lr"])
    _take_back(steps, found_inf)


def update_together(
    params: list[Tensor],
    states: list[dict[str, Tensor]],
    group: dict[str, Any],
    found_inf: Tensor | None = None,
) -> None:
    """One update of all tensors in as many launches as one tensor takes: for a GPU."""
    tensors = map(_gradient_and_moments, params, states)
    grads, *moments = map(list, zip(*tensors, strict=True))
    steps = _next_steps(states)
    sizes = [param.numel() for param in params]
    room = grads[0].new_empty(sum(sizes))
    directions = list(map(_laid_out_as, grads, room.split(sizes)))
    _decay(params, group, found_inf)
    _direction(directions, grads, moments, steps, group, found_inf)
    masks = torch._foreach_mul(moments[0], grads)
    torch._foreach_sign_(masks)
    torch._foreach_clamp_min_(masks, 0.0)
    torch._foreach_mul_(directions, masks)
    of_tensor = _on(room.device, *sizes)
    agreeing = torch.stack(torch._foreach_norm(masks, 1))
    room.mul_(
        _scale(agreeing, of_tensor, group).repeat_interleave(of_tensor, output_size=len(room))
    )
    torch._foreach_add_(params, directions, alpha=group["lr"])
    _take_back(steps, found_inf)


def _gradient_and_moments(param: Tensor, state: dict[str, Tensor]) -> list[Tensor]:
    """(g, m, v) or (g, m, v, v_max): one precision, one layout in memory."""
    moments = [value for key, value in state.items() if key != "step"]
    assert param.grad is not None
    grad = param.grad.to(moments[0].dtype)
    if grad.stride() != moments[0].stride():
        grad = torch.empty_like(moments[0]).copy_(grad)
    return [grad, *moments]


def _laid_out_as(tensor: Tensor, buffer: Tensor) -> Tensor:
    """The start of a flat buffer, with the shape and the order in memory of ``tensor``."""
    return buffer[: tensor.numel()].as_strided(tensor.shape, tensor.stride())


@cache
def _on(device: torch.device, *sizes: int) -> Tensor:
    """The sizes (n,) on a device, copied there once."""
    return torch.tensor(sizes, device=device)


def _next_steps(states: list[dict[str, Tensor]]) -> list[Tensor]:
    steps = [state["step"] for state in states]
    torch._foreach_add_(steps, 1.0)
    return steps


def _take_back(steps: list[Tensor], found_inf: Tensor | None) -> None:
    if found_inf is not None:
        torch._foreach_sub_(steps, [found_inf] * len(steps))


def _decay(params: list[Tensor], group: dict[str, Any], found_inf: Tensor | None) -> None:
    """theta <- (1 - lr wd) theta: it comes first and knows no mask."""
    if not group["weight_decay"]:
        return
    factor = 1.0 - group["lr"] * group["weight_decay"]
    if found_inf is None:
        torch._foreach_mul_(params, factor)
    else:
        kept = torch.full((), factor, dtype=params[0].dtype, device=params[0].device)
        torch._foreach_mul_(params, kept.where(found_inf == 0.0, 1.0))


def _direction(
    directions: list[Tensor],
    grads: list[Tensor],
    moments: list[list[Tensor]],
    steps: list[Tensor],
    group: dict[str, Any],
    found_inf: Tensor | None,
) -> None:
    """Update the moments, write -m_hat / (sqrt(v_hat) + eps), which is not masked yet.

    That is what Adam's own kernel makes of zeros at a learning rate of 1.
    """
    torch._foreach_zero_(directions)
    torch._fused_adam_(
        directions,
        grads,
        moments[0],
        moments[1],
        moments[2] if len(moments) > 2 else [],
        steps,
        amsgrad=len(moments) > 2,
        lr=1.0,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=0.0,
        eps=group["eps"],
        maximize=False,
        found_inf=found_inf,
    )


def _scale(agreeing: Tensor, count: Tensor | int, group: dict[str, Any]) -> Tensor:
    """s = min(1 / max(share of a tensor's elements that agree, 1e-3), cap).

    An element agrees if m g > 0, with the new m.
    """
    return agreeing.div(count).clamp_min(max(1e-3, 1.0 / group["cap"])).reciprocal()
