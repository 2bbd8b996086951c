"""One optimiser step: forward, tasks, balance, clip, step, second look. The only one there is."""

from __future__ import annotations

import math
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, distributed

from hpcm.losses.diverged import Diverged
from hpcm.losses.rate_distortion import RDTerms, rate_distortion
from hpcm.model.gradients import in_place
from hpcm.training.seeding import NOISES

if TYPE_CHECKING:
    from hpcm.model.hpcm import HPCM
    from hpcm.training.run import Run

MAX_SKIPPED_IN_A_ROW = 10  # steps with a non-finite gradient norm before the run counts as diverged
CHECK_EVERY = 50  # steps between looks at the regulariser's guard, each a wait for the device


class Stepper:
    """Takes the steps of one run and keeps their sums on the device, without waiting for it.

    A step waits for the device once, to read the task losses and the gradient norm: a non-finite
    loss or task weight ends the run as :class:`Diverged`; a non-finite norm alone skips the step,
    as the published recipe does, and ends the run after 10 in a row.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tasks = run.cfg.tasks
        self._is_rate = torch.tensor([k == "R" for k in self._tasks.kinds], device=run.device)
        self._parameters = list(run.model.parameters())
        self._noise = NOISES[run.noise](run.cfg.seed, run.device)
        self._sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=run.device))
        self._scale_sums = torch.zeros(3, dtype=torch.float64, device=run.device)
        self._steps = 0
        self._skipped = 0
        self._skipped_in_a_row = 0

    def step(self, x: Tensor, t: float) -> None:
        """Train on ``x`` (B, 3, p, p) at progress ``t``. Raises :class:`Diverged`."""
        run, number = self._run, self._run.step
        regularizers = [part for part in run.regularizers.values() if part.active(t)]
        for part in regularizers:
            x = part.transform(x, t)
        run.optimizer.zero_grad(set_to_none=True)
        out, terms, losses = self._look(x, number, look=0)
        penalty = total([part.penalty(out["latents"], t) for part in regularizers])
        trained: list[Tensor] = [p for p in self._parameters if p.requires_grad]
        with in_place() if self._adds_in_place() else nullcontext():
            run.balancer.backward(losses, trained, penalty)
        norm = torch.nn.utils.clip_grad_norm_(trained, run.cfg.clip_max_norm)
        losses = losses.detach()
        run.step += 1
        if not self._accepted(losses, norm, number):
            return
        run.optimizer.step()
        if run.average is not None:
            run.average.update()
        self._second_look(x, losses, number)
        self._record(terms, losses, norm)
        for part in regularizers:
            part.fit({name: latent.detach() for name, latent in out["latents"].items()})
            if number % CHECK_EVERY == 0:
                part.check(float(self._sums["loss"]) / self._steps)

    def read(self) -> tuple[dict[str, float], Tensor]:
        """Means since the last call: ``train/*`` floats, and the loss of each scale (3,).

        Where every step was skipped there is no mean, and the scales' losses are NaN.
        """
        done = max(self._steps, 1)
        metrics = {f"train/{name}": float(total) / done for name, total in self._sums.items()}
        metrics["train/skipped_steps"] = float(self._skipped)
        scale_losses = self._scale_sums / self._steps  # NaN if no step was taken
        self._sums.clear()
        self._scale_sums = torch.zeros_like(self._scale_sums)
        self._steps = self._skipped = 0
        return metrics, scale_losses

    def _adds_in_place(self) -> bool:
        """Whether gradients need not pass through autograd's own additions."""
        several = distributed.is_available() and distributed.is_initialized()
        return self._run.balancer.one_backward and not several

    def _look(self, x: Tensor, number: int, *, look: int) -> tuple[dict[str, Any], RDTerms, Tensor]:
        """Forward ``x`` and measure its tasks (n,); ``look`` 1 draws other noise than 0."""
        run = self._run
        shapes = cast("HPCM", run.model).noise_shapes(*x.shape[-2:])
        noise = self._noise.draw(number, shapes, range(len(x)), look)
        with autocast(run.cfg.precision.autocast, run.device):
            out = run.model(x, noise)
        terms = rate_distortion(out, x, run.cfg.loss.metric)
        return out, terms, self._tasks(out, x, run.cfg.loss, terms)

    def _second_look(self, x: Tensor, before: Tensor, number: int) -> None:
        """Tell the balancer what the step did to the tasks (FAMO, Alg. 1, line 6)."""
        balancer = self._run.balancer
        if not balancer.due(number):
            return
        after = before
        if balancer.noise != "none":
            with torch.no_grad():
                _, _, after = self._look(x, number, look=int(balancer.noise == "fresh"))
        balancer.update(before, after)

    def _accepted(self, losses: Tensor, norm: Tensor, number: int) -> bool:
        """Whether the step may be taken: the run's one wait for the device."""
        *values, norm_value = torch.cat([losses.double(), norm.double().reshape(1)]).tolist()
        broken = [
            f"{name} {value}"
            for name, value in zip(self._tasks.names, values, strict=True)
            if not math.isfinite(value)
        ]
        if broken:
            raise Diverged(f"step {number}: the loss is not finite: {', '.join(broken)}")
        if math.isfinite(norm_value):
            self._skipped_in_a_row = 0
            return True
        balancer = self._run.balancer
        if not all(map(math.isfinite, balancer.weights.tolist())):
            why = balancer.explain()
            raise Diverged(f"step {number}: the task weights are not finite: {why}")
        self._skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise Diverged(
                f"step {number}: {self._skipped_in_a_row} steps in a row had a non-finite gradient"
            )
        return False

    @torch.no_grad()
    def _record(self, terms: RDTerms, losses: Tensor, norm: Tensor) -> None:
        weights = self._run.balancer.weights
        values = {
            "loss": terms.rd_cost(self._run.cfg.loss.lmbda),
            "distortion": terms.distortion,
            "bpp_loss": terms.bpp,
            "psnr": -10 * torch.log10(terms.mse),
            "grad_norm": norm,
            "task_weight_distortion": (weights * ~self._is_rate).sum(),
            "task_weight_bpp": (weights * self._is_rate).sum(),
        }
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value.detach()
        for index, scale in enumerate(self._tasks.scales):
            if scale is not None:
                self._scale_sums[scale - 1] += losses[index]
        self._steps += 1


def total(penalties: list[Tensor | None]) -> Tensor | None:
    """The sum of what there is, (); None if there is nothing."""
    given = [penalty for penalty in penalties if penalty is not None]
    return sum(given[1:], given[0]) if given else None


def autocast(kind: str, device: torch.device) -> AbstractContextManager[object]:
    """The autocast context of ``precision.autocast``; the model keeps likelihoods in float32."""
    if kind == "none":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
