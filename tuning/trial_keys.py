"""Keys of a report with which a trial says more than metrics."""

from __future__ import annotations

FAILED = "failed"  # it ends, and why
DIVERGED = "diverged"  # with FAILED: its numbers did, not its code
SUSPENDED = "suspended"  # it has saved and ends, because the experiment closes
RESTORED = "restored"  # the epoch of the checkpoint that it continues, said again
NOTICE = "notice"  # what a person should know, and needs no action at once
