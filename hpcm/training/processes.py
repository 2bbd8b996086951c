"""How the processes of a run meet, and how the first one tells the others what to train.

Rank 0 reads the config, refuses what cannot be trained, prints and writes. The others follow: they
are sent the function that it called, with its arguments, and take the same reports without a word.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from hpcm import parts, ranks, torchrun
from hpcm.schema import ConfigError
from hpcm.training.loop import EpochReport

Train = Callable[..., Iterator[EpochReport]]  # as `hpcm.train` is called

#: Of one process for another: the first one decodes all images, or saves to a slow disk.
LONGEST_WAIT = timedelta(hours=1)


@contextmanager
def group_of_torchrun(device: str) -> Iterator[None]:
    """Inside, the processes that torchrun started are one group; nothing if it started none.

    Raises :class:`ConfigError` for a ``device`` that not each of them can have.
    """
    if torchrun.processes() == 1:
        yield
        return
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"--device {device}: of several processes each has its own; cpu or cuda")
    here, gpus = torchrun.processes_here(), torch.cuda.device_count()
    if device == "cuda" and here > gpus:
        raise ConfigError(
            f"torchrun: {here} processes on a machine that has {gpus} GPUs; must be {gpus} or fewer"
        )
    meet(device, torchrun.number_here())
    yield
    distributed.destroy_process_group()  # not after an error: the others may be gone


def meet(device: str, number_here: int, **how: Any) -> None:
    """Enter the group of the run's processes, by NCCL between GPUs, else by gloo.

    ``how``: as `torch.distributed.init_process_group` takes it; by the environment if not given.
    """
    if device == "cuda":
        torch.cuda.set_device(number_here)
    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=LONGEST_WAIT, **how)


def leading(train: Train, dumps: Callable[[Any], bytes] = pickle.dumps) -> Train:
    """``train`` as rank 0 calls it: when the call has refused nothing, the others follow it.

    ``dumps`` writes the function and its arguments, for `pickle.loads` to read.
    """
    if ranks.count() == 1:
        return train

    def train_with_others(*given: Any, **named: Any) -> Iterator[EpochReport]:
        reports = train(*given, **named)
        ranks.from_first((parts.sources(), dumps((train, given, named))))
        return reports

    return train_with_others


def follow() -> None:
    """Train what rank 0 trains, to its end. Raises :class:`hpcm.ranks.RankLostError` if it ends.

    What only this process cannot do is raised as :class:`ConfigError` with its rank.
    """
    sources, content = ranks.from_first(None)
    try:
        parts.import_sources(sources)
        train, given, named = pickle.loads(content)
        for _ in train(*given, **named):
            pass
    except ConfigError as error:
        raise ConfigError(f"process {ranks.own()} of {ranks.count()}: {error}") from error
