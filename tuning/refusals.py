"""A refusal that may be over later, told apart from one that somebody has to mend."""

from __future__ import annotations

from hpcm.schema import ConfigError


class NotNowError(ConfigError):
    """No cluster answers, or another driver runs the experiment: the same command may do later.

    With `--resume` it is exit code 1 and not 2, so that `deploy/supervise.sh` tries again.
    """
