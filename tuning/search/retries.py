"""Whether a trial whose process broke is started again, from what the ledger knows of it."""

from __future__ import annotations

from dataclasses import dataclass

from hpcm.config import TrainConfig
from tuning.ledger.failures import POLICIES, Failure
from tuning.ledger.records import TrialRecord
from tuning.ledger.redaction import redacted
from tuning.spaces.space import SearchSpace


@dataclass(frozen=True)
class Certain:
    """What is certain of another start. ``reason``: why it would fail too; None: it may not."""

    reason: str | None = None
    elsewhere: bool = False  # it must be on another node


def may_retry(record: TrialRecord, failure: Failure) -> bool:
    """Whether the class of the failure allows one more start."""
    return record.failures.get(failure.kind, 0) < POLICIES[failure.kind].retries


def certain_failure(
    space: SearchSpace,
    record: TrialRecord,
    failure: Failure,
    node: str | None,
    other_node: bool,
    lmbda: float | None = None,
) -> Certain:
    """Whether another start would fail too: the same error twice on the only node, too little GPU.

    ``other_node``: a node besides the ones on which it failed could run it. ``lmbda``: of the
    reference run that it is or confirms, whose config is not made from the parameters.
    """
    if failure.kind == "device_memory":
        if space.resources.gpu < 1 and not record.needs_whole_gpu:
            return Certain()
        config = space.config(record.params) if lmbda is None else space.reference_config(lmbda)
        return Certain(_too_large(config, failure))
    if failure.kind != "exception" or record.crash != redacted(failure.text):
        return Certain()
    if node is not None and node == record.crashed_on and other_node:
        return Certain(elsewhere=True)  # the node may be the cause
    return Certain(f"the same error twice, not tried again: {failure.text}")


def _too_large(config: TrainConfig, failure: Failure) -> str:
    data = config.data
    return (
        f"out of GPU memory with a whole GPU: data.batch_size {data.batch_size}, data.patch"
        f" {data.patch} and the model do not fit into it; {failure.text}"
    )


def final_reason(record: TrialRecord, failure: Failure) -> str:
    """The reason of a trial that is given up."""
    text = failure.text if failure.kind != "exception" else f"crashed: {failure.text}"
    return f"{text} (started {record.retries + 1} times)" if record.retries else text
