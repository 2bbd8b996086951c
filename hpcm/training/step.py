"""One optimiser step: forward, tasks, balance, clip, step, second look. The only one there is."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from hpcm import ranks
from hpcm.losses.rate_distortion import RDTerms, rate_distortion
from hpcm.model.gradients import in_place
from hpcm.training.compiled import Compiled
from hpcm.training.graphs import Noise, StepGraphs
from hpcm.training.seeding import NOISES
from hpcm.training.verdicts import Verdicts

if TYPE_CHECKING:
    from hpcm.losses import Regularizer
    from hpcm.model.hpcm import HPCM
    from hpcm.training.run import Run

#: What every step adds to the sums, before the losses of s1, s2, s3.
RECORDED = (
    *("train/loss", "train/distortion", "train/bpp_loss", "train/psnr", "train/grad_norm"),
    *("train/task_weight_distortion", "train/task_weight_bpp"),
)
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
        self._sums = torch.zeros(len(RECORDED) + 3, dtype=torch.float64, device=run.device)
        self._of_scales = torch.tensor(  # (3, n): which tasks are a scale's
            [[float(task == scale) for task in self._tasks.scales] for scale in (1, 2, 3)],
            dtype=torch.float64,
            device=run.device,
        )
        self._measure = Compiled(self._measured) if run.precision.compile == "graph" else None
        self._verdicts = Verdicts(self._tasks.names, run.balancer, run.precision.check_every)
        self._graphs = StepGraphs(run) if run.precision.cuda_graph else None

    def step(self, x: Tensor, t: float) -> None:
        """Train on ``x`` (B, 3, p, p), this rank's part of a batch, at progress ``t``.

        Raises :class:`Diverged`, on every rank at once.
        """
        run, number = self._run, self._run.step
        run.step += 1
        if not self._verdicts.at_once:
            noise, second = self._noises(x, number)
            if self._graphs is None:
                row = self._on_device(x, noise, second)
            else:
                row = self._graphs(self._on_device, x, noise, second)
            self._verdicts.pass_on(number, row)
            return
        regularizers = [part for part in run.regularizers.values() if part.active(t)]
        for part in regularizers:
            x = part.transform(x, t)
        noise, second = self._noises(x, number)
        terms, row, latents = self._gradients(x, noise, regularizers, t)
        if not self._verdicts.pass_on(number, row):
            return
        self._move(x, second, terms, row, taken=True)
        for part in regularizers:
            part.fit({name: latent.detach() for name, latent in latents.items()})
            if number % GUARD_EVERY == 0:
                part.check(float(self._sums[0]) / self._verdicts.taken)

    def _on_device(self, x: Tensor, noise: Noise, second: Noise | None) -> Tensor:
        """A whole step that the host knows nothing of, and its row; no regularizer is on."""
        terms, row, _ = self._gradients(x, noise, [], math.nan)
        taken = self._verdicts.is_taken(row)
        self._run.optimizer.found_inf = (~taken).float()  # type: ignore[attr-defined]
        self._move(x, second, terms, row, taken)
        return row

    def _gradients(
        self, x: Tensor, noise: Noise, regularizers: list[Regularizer], t: float
    ) -> tuple[RDTerms, Tensor, dict[str, Tensor]]:
        """Clipped gradients, all of one batch; its terms, its row, and the latents of penalties."""
        run = self._run
        run.optimizer.zero_grad(set_to_none=True)
        out, terms, losses = self._look(x, noise)
        latents = {}
        if regularizers:
            latents = {name: ranks.whole_batch(part) for name, part in out["latents"].items()}
        penalty = total([part.penalty(latents, t) for part in regularizers])
        trained: list[Tensor] = [p for p in self._parameters if p.requires_grad]
        with in_place() if self._adds_in_place() else nullcontext():
            run.balancer.backward(losses, trained, penalty)
        average_gradients(trained)
        norm = torch.nn.utils.clip_grad_norm_(trained, run.cfg.clip_max_norm)
        return terms, self._verdicts.row(run.balancer.losses, norm), latents

    def _move(
        self, x: Tensor, second: Noise | None, terms: RDTerms, row: Tensor, taken: Tensor | bool
    ) -> None:
        """The optimiser step and what follows from it; nothing of it stays unless ``taken`` ()."""
        run = self._run
        run.optimizer.step()
        if run.average is not None:
            run.average.update(taken)
        if second is not None:
            self._second_look(x, second, taken)
        self._record(terms, row, taken)

    def read(self) -> tuple[dict[str, float], Tensor]:
        """Means since the last call: ``train/*`` floats, and the loss of each scale (3,).

        If every step was skipped there is no mean, and the scales' losses are NaN. Raises
        :class:`hpcm.losses.diverged.Diverged` for what was not looked at yet.
        """
        taken, skipped = self._verdicts.read()
        means = (self._sums / taken).tolist()  # NaN if no step was taken
        metrics = dict(zip(RECORDED, means, strict=False)) if taken else {}
        metrics["train/skipped_steps"] = float(skipped)
        if self._measure is not None:
            metrics["train/compiled"] = float(not self._measure.failed)
        self._sums.zero_()
        if self._graphs is not None:
            self._graphs.forget()  # the next epoch has other learning rates and gammas
        return metrics, torch.tensor(means[-3:], dtype=torch.float64)

    def _adds_in_place(self) -> bool:
        """Whether gradients need not pass through autograd's own additions."""
        compiled = self._measure is not None and not self._measure.failed
        return self._run.balancer.one_backward and not compiled

    def _noises(self, x: Tensor, number: int) -> tuple[Noise, Noise | None]:
        """The noise of the step ``number``, and that of its second look; None: it has none."""
        run = self._run
        shapes = cast("HPCM", run.model).noise_shapes(*x.shape[-2:])
        samples = range(ranks.own() * len(x), (ranks.own() + 1) * len(x))
        noise = self._noise.draw(number, shapes, samples)
        balancer = run.balancer
        if not balancer.due(number):
            return noise, None
        if balancer.noise == "fresh":
            return noise, self._noise.draw(number, shapes, samples, look=1)
        return noise, noise

    def _look(self, x: Tensor, noise: Noise) -> tuple[dict[str, Any], RDTerms, Tensor]:
        """Forward ``x`` and measure its tasks (n,)."""
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

    def _second_look(self, x: Tensor, noise: Noise, taken: Tensor | bool) -> None:
        """Tell the balancer what the step did to the tasks (FAMO, Alg. 1, line 6)."""
        balancer = self._run.balancer
        before = after = balancer.losses
        if balancer.noise != "none":
            with torch.no_grad():
                _, _, after = self._look(x, noise)
            after = ranks.mean(after)
        if isinstance(taken, bool):
            balancer.update(before, after)
        else:
            balancer.update_where(taken, before, after)

    @torch.no_grad()
    def _record(self, terms: RDTerms, row: Tensor, taken: Tensor | bool) -> None:
        """Add the values of `RECORDED` and the losses of the scales to the sums."""
        count = len(self._tasks.names)
        losses, norm, weights = row.split([count, 1, count])
        distortion, bpp, mse = ranks.means([terms.distortion, terms.bpp, terms.mse])
        terms = replace(terms, distortion=distortion, bpp=bpp, mse=mse)
        values = [
            terms.rd_cost(self._run.cfg.loss.lmbda),
            terms.distortion,
            terms.bpp,
            -10 * torch.log10(terms.mse),
            norm,
            (weights * ~self._is_rate).sum(),
            (weights * self._is_rate).sum(),
        ]
        whole = torch.cat(
            [*(value.double().reshape(1) for value in values), self._of_scales @ losses]
        )
        self._sums.add_(whole if isinstance(taken, bool) else whole.where(taken, 0.0))


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
