"""A refusal that may be over later, unlike one that somebody has to mend."""

from __future__ import annotations

from hpcm.schema import ConfigError


class NotNowError(ConfigError):
    """No cluster answers, its nodes have not joined, or another driver runs: later it may work.

    With `--resume` it is exit code 1 and not 2, so that `deploy/supervise.sh` tries again.
    """
