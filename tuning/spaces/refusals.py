"""A refusal that may be over later, told apart from one that somebody has to mend."""

from __future__ import annotations

from hpcm.schema import ConfigError


class NotNowError(ConfigError):
    """No cluster answers, its nodes have not joined, or another driver runs: later may do.

    With `--resume` it is exit code 1 and not 2, so that `deploy/supervise.sh` tries again.
    """
