"""From what Ray raises for a trial's process to the class of its failure."""

from __future__ import annotations

import torch
from ray.exceptions import ActorUnavailableError, RayActorError

from hpcm.ranks import RankLostError
from tuning.ledger.failures import POLICIES, Failure

LONGEST = 300  # characters of a reason


class NodeUnfitError(RuntimeError):
    """A node runs other code or holds other data than the driver: no fault of the trial on it.

    Raised by a trial at its start, see :mod:`tuning.on_ray.node_facts`.
    """


class StoreAwayError(OSError):
    """The place of the checkpoints did not answer a trial at its start; says what came instead.

    No fault of the trial, nor of its node, and it may take minutes.
    """


class KilledForMemoryError(RayActorError):
    """Ray's memory monitor ended the trial's process; see :mod:`tuning.on_ray.private_api`."""


def diagnose(error: BaseException | None, words: str = "") -> Failure:
    """The class of what Ray raised; ``words``: the text of an exception that was not kept."""
    cause: BaseException | None = getattr(error, "cause", None) or error
    if isinstance(cause, RayActorError):
        return _of_a_process(cause)
    text = one_line(str(cause) if cause is not None else words)
    named = f"{type(cause).__name__}: {text}" if cause is not None else text
    if isinstance(cause, NodeUnfitError):
        return Failure("node_unfit", text[:LONGEST])
    if isinstance(cause, StoreAwayError):
        return _of_the_store(text)
    if isinstance(cause, RankLostError):
        return Failure("killed", text[:LONGEST])
    if _is_of_the_device(cause, text):
        return Failure("device_memory", named[:LONGEST])
    if isinstance(cause, MemoryError) or "DefaultCPUAllocator" in text:
        return Failure("memory", named[:LONGEST])
    return Failure("exception", named[:LONGEST])


def one_line(text: str) -> str:
    """The words of an error without its line breaks."""
    return " ".join(text.split())


def _of_a_process(error: RayActorError) -> Failure:
    text = str(error)
    if isinstance(error, KilledForMemoryError):
        return Failure("memory", f"{POLICIES['memory'].text} on its node: Ray ended its process")
    if error.preempted or "node was preempted" in text:
        return Failure("preempted", POLICIES["preempted"].text)
    if isinstance(error, ActorUnavailableError) or "its node has died" in text:
        return Failure("node_lost", POLICIES["node_lost"].text)
    if error.actor_init_failed:  # Ray pastes the whole traceback, the exception at its end
        last = [line for line in text.splitlines() if line.strip()][-1].strip()
        unfit = last.partition(f"{NodeUnfitError.__name__}: ")[2]
        if unfit:
            return Failure("node_unfit", unfit[:LONGEST])
        away = last.partition(f"{StoreAwayError.__name__}: ")[2]
        if away:
            return _of_the_store(away)
        return Failure("exception", f"its process did not start: {last}"[:LONGEST])
    return Failure("killed", POLICIES["killed"].text)


def _of_the_store(text: str) -> Failure:
    return Failure("store", f"{POLICIES['store'].text}: {text}"[:LONGEST])


def _is_of_the_device(cause: BaseException | None, text: str) -> bool:
    if isinstance(cause, torch.OutOfMemoryError):
        return True
    signs = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
    return isinstance(cause, RuntimeError) and any(sign in text for sign in signs)
