"""Keys of a report with which a trial says more than metrics, and of what Ray's trial is given."""

from __future__ import annotations

from ray.tune.experiment import Trial

FAILED = "failed"  # it ends, and why
DIVERGED = "diverged"  # with FAILED: its numbers did, not its code
SUSPENDED = "suspended"  # it has saved and ends, because the experiment closes
RESTORED = "restored"  # the epoch of the checkpoint that it continues, reported once more
NOTICE = "notice"  # what a person should know, and needs no action at once
STOP_FILE = "closing"  # begins the name of a session's file: save, and stop after this epoch
SEED = "confirm_seed"  # of a trial's config: the seed that replaces the search's own
REFERENCE_LMBDA = "reference_lmbda"  # of a trial's config: it is a reference run at this lmbda
PLACEMENT = "placement"  # of a trial's config: what differs from what the space asks for


def number_of(trial: Trial) -> int:
    """Our number of one of Ray's trials."""
    return int(trial.config["trial"])
