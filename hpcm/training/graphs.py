"""Steps as CUDA graphs: recorded once, then launched as a whole instead of kernel by kernel.

A graph launches the same kernels on the same memory each time. So what differs from step to step
(batch, noise) is copied to where it reads, what a step makes anew (the balancer's state) is copied
back to where it reads, and what Python decides is fixed while the graph lives: for one epoch, in
which learning rates, gammas and trained parameters stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from hpcm.schema import ConfigError

if TYPE_CHECKING:
    from hpcm.training.run import Run

Noise = dict[str, Tensor]  # by the names of the model's `noise_shapes`
Step = Callable[[Tensor, Noise, Noise | None], Tensor]  # batch, noise, that of the second look: row
EAGER = 2  # steps of a kind before it is recorded: they make optimiser states and choose kernels


@dataclass
class Graph:
    """A recorded step: the tensors that it reads, its row, and what launches it."""

    reads: list[Tensor]
    row: Tensor
    launch: Callable[[], None]


class StepGraphs:
    """Takes a run's steps: the first ones of a kind as they are, the others as its graph."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.forget()

    def forget(self) -> None:
        """Drop every graph. Call it if anything that Python decides may have changed."""
        self._recorder = Recorder(self._run.device)
        self._graphs: dict[Any, Graph] = {}
        self._seen: Counter[Any] = Counter()
        self._state: list[Tensor] = []  # the balancer's, once graphs read and write it

    def __call__(self, step: Step, x: Tensor, noise: Noise, second: Noise | None) -> Tensor:
        """One ``step``, which must do all its work on the device; its row."""
        common = second is noise
        given = [x, *noise.values(), *(second.values() if second and not common else ())]
        kind = x.shape, len(given), second is None
        if kind in self._graphs:
            for place, value in zip(self._graphs[kind].reads, given, strict=True):
                place.copy_(value)
        else:
            x, noise = x.clone(), _copy(noise)  # laid out as the graph's
            second = noise if common else second and _copy(second)
            self._seen[kind] += 1
            if self._seen[kind] <= EAGER:
                return self._recorder.aside(lambda: self._whole(step, x, noise, second))
            self._graphs[kind] = self._recorded(step, x, noise, second)
        self._graphs[kind].launch()
        return self._graphs[kind].row.clone()

    def _recorded(self, step: Step, x: Tensor, noise: Noise, second: Noise | None) -> Graph:
        if not self._state:
            self._state = [part.clone() for part in self._made()]
            self._put_in_place()
        counted = self._on_host()
        with capturable(self._run.optimizer):
            row, launch = self._recorder.record(lambda: self._whole(step, x, noise, second))
        if self._on_host() != counted:
            cfg = self._run.cfg
            parts = f"balancer {cfg.balancer.name} or optimizer {cfg.optimizer.name}"
            raise ConfigError(
                f"precision.cuda_graph is true, but {parts} counts on the host, which a graph"
                " does not; it must count in tensors"
            )
        more = second.values() if second and second is not noise else ()
        return Graph([x, *noise.values(), *more], row, launch)

    def _whole(self, step: Step, x: Tensor, noise: Noise, second: Noise | None) -> Tensor:
        """The step, and its new state copied to where graphs read it."""
        row = step(x, noise, second)
        if self._state:
            for place, value in zip(self._state, self._made(), strict=True):
                if value is not place:
                    place.copy_(value)
            self._put_in_place()
        return row

    def _on_host(self) -> list[Any]:
        """What balancer and optimizer keep besides tensors."""
        states = self._run.balancer.state_dict(), self._run.optimizer.state_dict()["state"]
        leaves, _ = tree_flatten(states)
        return [leaf for leaf in leaves if not isinstance(leaf, Tensor)]

    def _made(self) -> list[Tensor]:
        """The tensors of the balancer's state, in their order."""
        leaves, _ = tree_flatten(self._run.balancer.state_dict())
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def _put_in_place(self) -> None:
        """Let the balancer's state be the tensors that graphs read, not copies of them."""
        leaves, tree = tree_flatten(self._run.balancer.state_dict())
        places = iter(self._state)
        leaves = [next(places) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._run.balancer.load_state_dict(tree_unflatten(leaves, tree))
        if any(a is not b for a, b in zip(self._state, self._made(), strict=True)):
            raise TypeError(
                f"precision.cuda_graph: balancer {self._run.cfg.balancer.name} copies what"
                " load_state_dict gives it; it must keep the tensors"
            )


class Recorder:
    """Records work on a GPU, on a stream of its own, as CUDA asks for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()  # of all its graphs, which run in turn

    def aside(self, work: Callable[[], Tensor]) -> Tensor:
        """Do ``work`` on that stream: then nothing of another one is in what is recorded later."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """Where the result of ``work`` will be, and what does it; here nothing is computed."""
        graph = torch.cuda.CUDAGraph()
        mode = "thread_local"  # other threads load data meanwhile
        place: dict[str, Any] = {
            "pool": self._pool,
            "stream": self._stream,
            "capture_error_mode": mode,
        }
        with torch.cuda.device(self._device), torch.cuda.graph(graph, **place):
            result = work()
        return result, graph.replay


@contextmanager
def capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, torch's optimisers let themselves be recorded; what is saved does not say so."""
    groups = [group for group in optimizer.param_groups if "capturable" in group]
    before = [group["capturable"] for group in groups]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group, own in zip(groups, before, strict=True):
            group["capturable"] = own


def _copy(noise: Noise) -> Noise:
    return {name: part.clone() for name, part in noise.items()}
