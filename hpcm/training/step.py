"""One optimiser step: forward, tasks, balance, clip, step, second look. The only one there is."""

from __future__ import annotations

from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from hpcm import ranks
from hpcm.losses.rate_distortion import RDTerms, rate_distortion
from hpcm.model.gradients import in_place
from hpcm.training.compiled import Compiled
from hpcm.training.seeding import NOISES
from hpcm.training.verdicts import Verdicts

if TYPE_CHECKING:
    from hpcm.model.hpcm import HPCM
    from hpcm.training.run import Run

GUARD_EVERY = 50  # steps between looks at the regulariser's guard, each a wait for the device


class Stepper:
    """Takes the steps of one run and keeps their sums on the device, without waiting for it.

    Whether a step may be taken is known to the device at once, and to the host every
    ``precision.check_every`` steps, by one wait: see `hpcm.training.verdicts`.

    Of several processes each looks at its part of the batch. What a step depends on is then made
    the whole batch's: the losses, the latents of a penalty, the gradients. So all of them take the
    same step, whatever the balancer and the optimizer are.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tasks = run.cfg.tasks
        self._is_rate = torch.tensor([k == "R" for k in self._tasks.kinds], device=run.device)
        self._parameters = list(run.model.parameters())
        self._noise = NOISES[run.noise](run.cfg.seed, run.device)
        self._sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=run.device))
        self._scale_sums = torch.zeros(3, dtype=torch.float64, device=run.device)
        self._measure = Compiled(self._measured) if run.precision.compile == "graph" else None
        self._verdicts = Verdicts(self._tasks.names, run.balancer, run.precision.check_every)

    def step(self, x: Tensor, t: float) -> None:
        """Train on ``x`` (B, 3, p, p), this rank's part of a batch, at progress ``t``.

        Raises :class:`Diverged`, on every rank at once.
        """
        run, number = self._run, self._run.step
        regularizers = [part for part in run.regularizers.values() if part.active(t)]
        for part in regularizers:
            x = part.transform(x, t)
        run.optimizer.zero_grad(set_to_none=True)
        out, terms, losses = self._look(x, number, look=0)
        latents = {}
        if regularizers:
            latents = {name: ranks.whole_batch(part) for name, part in out["latents"].items()}
        penalty = total([part.penalty(latents, t) for part in regularizers])
        trained: list[Tensor] = [p for p in self._parameters if p.requires_grad]
        with in_place() if self._adds_in_place() else nullcontext():
            run.balancer.backward(losses, trained, penalty)
        average_gradients(trained)
        norm = torch.nn.utils.clip_grad_norm_(trained, run.cfg.clip_max_norm)
        losses = run.balancer.losses  # the whole batch's
        run.step += 1
        taken = self._verdicts.pass_on(number, losses, norm)
        if taken is False:
            return
        if taken is not True:  # the optimizer looks at it on the device
            run.optimizer.found_inf = (~taken).float()  # type: ignore[attr-defined]
        run.optimizer.step()
        if run.average is not None:
            run.average.update(taken)
        self._second_look(x, losses, number, taken)
        self._record(terms, losses, norm, taken)
        for part in regularizers:
            part.fit({name: latent.detach() for name, latent in latents.items()})
            if number % GUARD_EVERY == 0:
                part.check(float(self._sums["loss"]) / self._verdicts.taken)
        self._verdicts.look_if_due()

    def read(self) -> tuple[dict[str, float], Tensor]:
        """Means since the last call: ``train/*`` floats, and the loss of each scale (3,).

        If every step was skipped there is no mean, and the scales' losses are NaN. Raises
        :class:`hpcm.losses.diverged.Diverged` for what was not looked at yet.
        """
        taken, skipped = self._verdicts.read()
        if not taken:
            self._sums.clear()
        done = max(taken, 1)
        metrics = {f"train/{name}": float(total) / done for name, total in self._sums.items()}
        metrics["train/skipped_steps"] = float(skipped)
        if self._measure is not None:
            metrics["train/compiled"] = float(not self._measure.failed)
        scale_losses = self._scale_sums / taken  # NaN if no step was taken
        self._sums.clear()
        self._scale_sums = torch.zeros_like(self._scale_sums)
        return metrics, scale_losses

    def _adds_in_place(self) -> bool:
        """Whether gradients need not pass through autograd's own additions."""
        compiled = self._measure is not None and not self._measure.failed
        return self._run.balancer.one_backward and not compiled

    def _look(self, x: Tensor, number: int, *, look: int) -> tuple[dict[str, Any], RDTerms, Tensor]:
        """Forward ``x`` and measure its tasks (n,); ``look`` 1 draws other noise than 0."""
        run = self._run
        shapes = cast("HPCM", run.model).noise_shapes(*x.shape[-2:])
        first = ranks.own() * len(x)
        noise = self._noise.draw(number, shapes, range(first, first + len(x)), look)
        return (self._measure or self._measured)(x, noise)

    def _measured(
        self, x: Tensor, noise: dict[str, Tensor]
    ) -> tuple[dict[str, Any], RDTerms, Tensor]:
        """The model's output, its terms, and the tasks (n,): what is compiled as one graph."""
        run = self._run
        with autocast(run.precision.autocast, run.device):
            out = run.model(x, noise)
        terms = rate_distortion(out, x, run.cfg.loss.metric)
        return out, terms, self._tasks(out, x, run.cfg.loss, terms)

    def _second_look(self, x: Tensor, before: Tensor, number: int, taken: Tensor | bool) -> None:
        """Tell the balancer what the step did to the tasks (FAMO, Alg. 1, line 6)."""
        balancer = self._run.balancer
        if not balancer.due(number):
            return
        after = before
        if balancer.noise != "none":
            with torch.no_grad():
                _, _, after = self._look(x, number, look=int(balancer.noise == "fresh"))
            after = ranks.mean(after)
        if isinstance(taken, bool):
            balancer.update(before, after)
        else:
            balancer.update_where(taken, before, after)

    @torch.no_grad()
    def _record(self, terms: RDTerms, losses: Tensor, norm: Tensor, taken: Tensor | bool) -> None:
        weights = self._run.balancer.weights
        distortion, bpp, mse = ranks.means([terms.distortion, terms.bpp, terms.mse])
        terms = replace(terms, distortion=distortion, bpp=bpp, mse=mse)
        values = {
            "loss": terms.rd_cost(self._run.cfg.loss.lmbda),
            "distortion": terms.distortion,
            "bpp_loss": terms.bpp,
            "psnr": -10 * torch.log10(terms.mse),
            "grad_norm": norm,
            "task_weight_distortion": (weights * ~self._is_rate).sum(),
            "task_weight_bpp": (weights * self._is_rate).sum(),
        }
        if isinstance(taken, Tensor):
            values = {name: value.where(taken, 0.0) for name, value in values.items()}
            losses = losses.where(taken, 0.0)
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value.detach()
        for index, scale in enumerate(self._tasks.scales):
            if scale is not None:
                self._scale_sums[scale - 1] += losses[index]


def average_gradients(parameters: list[Tensor]) -> None:
    """Replace each ``.grad`` by its mean over the ranks, which is the whole batch's."""
    trained = [p for p in parameters if p.grad is not None]
    gradients = ranks.means([p.grad for p in trained if p.grad is not None])
    for parameter, gradient in zip(trained, gradients, strict=True):
        parameter.grad = gradient


def total(penalties: list[Tensor | None]) -> Tensor | None:
    """The sum of what there is, (); None if there is nothing."""
    given = [penalty for penalty in penalties if penalty is not None]
    return sum(given[1:], given[0]) if given else None


def autocast(kind: str, device: torch.device) -> AbstractContextManager[object]:
    """The autocast context of ``precision.autocast``; the model keeps likelihoods in float32."""
    if kind == "none":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
