"""One side of a comparison of training steps: a process that takes steps when it is told to.

Started by `benchmarks.train_step`, one process a side, so that neither shares memory, allocator or
threads with the other. A line of JSON in is a request, a line of JSON out its answer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.kernels import WaitCounter

SIDE = 256  # pixels of a crop


class Side(NamedTuple):
    """A model and its training step, a function of a batch (B, 3, 256, 256)."""

    model: nn.Module
    step: Callable[[Tensor], None]
    parts: Callable[[Tensor, int], dict[str, Any]] | None = None


def main(options: dict[str, Any]) -> None:
    """Serve requests until stdin ends."""
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    side = _official(options) if options["official"] else _ours(options)
    batch = torch.rand(options["batch"], 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    batch = batch.to(options["device"])
    work = {
        "step": side.step,
        "gradient": lambda x: _gradient(side.model, x),
        "evaluate": lambda x: _evaluate(side.model, x),
    }
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a side prints is not an answer
    for line in sys.stdin:
        request = json.loads(line)
        if request["what"] == "parts":
            found = side.parts(batch, request["times"])
        else:
            found = measure(work[request["what"]], batch, request["times"])
        print(json.dumps(found), file=answers, flush=True)


def measure(work: Callable[[Tensor], None], batch: Tensor, times: int) -> dict[str, float]:
    """CPU and wall seconds of one call, and the peak of its memory.

    ``time`` is what sides are compared by: CPU time of the process, on a GPU wall time between two
    waits for the device. ``peak`` is what the calls took over what the process had before, in
    bytes; on a CPU resident pages, on a GPU allocated memory.
    """
    before = _peak_from_here(batch)
    _wait(batch)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        work(batch)
    _wait(batch)
    cpu, wall = (time.process_time() - cpu) / times, (time.perf_counter() - wall) / times
    compared = wall if batch.is_cuda else cpu
    return {"cpu": cpu, "wall": wall, "time": compared, "peak": _peak(batch) - before}


def _ours(options: dict[str, Any]) -> Side:
    """The hpcm of ``options["code"]``, which may be another commit's."""
    sys.path.insert(0, options["code"])
    from hpcm import TrainConfig
    from hpcm.schema import overlay
    from hpcm.training.run import Run
    from hpcm.training.step import Stepper
    from hpcm.yaml_files import override

    plain: dict[str, Any] = {"model": {"name": options["model"]}}
    for text in options["set"]:
        plain = overlay(plain, override(text))
    run = Run.build(TrainConfig.from_plain(plain, "--set"), None, options["device"])
    run.apply_config()
    run.model.train()
    stepper = Stepper(run)

    def step(x: Tensor) -> None:
        stepper.step(x, 0.0)

    return Side(run.model, step, lambda x, times: _parts(run, stepper, x, times))


def _official(options: dict[str, Any]) -> Side:
    from benchmarks import official

    step, model = official.stepper(Path(options["code"]), options["model"], options["device"])
    return Side(model, step)


def _parts(run: Any, stepper: Any, batch: Tensor, times: int) -> dict[str, Any]:
    """Seconds of a step's parts, its waits and operations, and a matrix product's speed.

    Forward includes the noise and the loss.
    """
    seconds: dict[str, float] = {}
    places = (
        ("forward", stepper, "_look"),
        ("backward", run.balancer, "backward"),
        ("optimiser", run.optimizer, "step"),
        ("balancer", run.balancer, "update"),
    )
    with ExitStack() as stack:
        for name, owner, method in places:
            timed = _timed(getattr(owner, method), name, seconds, batch)
            stack.enter_context(patch.object(owner, method, timed))
        for _ in range(times):
            stepper.step(batch, 0.0)
    seconds = {name: total / times for name, total in seconds.items()}
    with WaitCounter() as waits:
        for _ in range(times):
            stepper.step(batch, 0.0)
    counter = FlopCounterMode(display=False)
    with counter, patch.object(stepper, "_measure", None):  # what is compiled is not counted
        stepper.step(batch, 0.0)
    return {
        "seconds": seconds,
        "precision": str(run.precision),
        "waits": waits.total / times,
        "flops": counter.get_total_flops(),
        "matmul_flops_per_second": _matmul_speed(batch),
    }


def _timed(
    work: Callable[..., Any], name: str, seconds: dict[str, float], batch: Tensor
) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        _wait(batch)
        started = time.perf_counter()
        result = work(*args, **kwargs)
        _wait(batch)
        label = name if name != "forward" or torch.is_grad_enabled() else "second look"
        seconds[label] = seconds.get(label, 0.0) + time.perf_counter() - started
        return result

    return run


def _matmul_speed(batch: Tensor, side: int = 2048) -> float:
    """Floating-point operations a second of the best of ten products of two square matrices."""
    a = torch.rand(side, side, device=batch.device)
    best = float("inf")
    for _ in range(10):
        _wait(batch)
        started = time.perf_counter()
        a @ a
        _wait(batch)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def _gradient(model: nn.Module, batch: Tensor) -> None:
    """Forward and backward of any side: of the rate and the squared error."""
    out = model(batch)
    bits = sum(-likelihood.log2().sum() for likelihood in out["likelihoods"].values())
    error = (out["x_hat"] - batch).square().mean()
    (bits / batch[:, 0].numel() + 0.013 * 255**2 * error).backward()


def _evaluate(model: nn.Module, batch: Tensor) -> None:
    model.eval()
    with torch.no_grad():
        model(batch)
    model.train()


def _wait(batch: Tensor) -> None:
    if batch.is_cuda:
        torch.cuda.synchronize(batch.device)


def _peak_from_here(batch: Tensor) -> float:
    """Forget the peak so far; bytes in use now."""
    if batch.is_cuda:
        torch.cuda.reset_peak_memory_stats(batch.device)
        return float(torch.cuda.memory_allocated(batch.device))
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak(batch: Tensor) -> float:
    return (
        float(torch.cuda.max_memory_allocated(batch.device)) if batch.is_cuda else _status("VmHWM")
    )


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith(f"{name}:"))
    return float(found.split()[1]) * 1024


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
