"""The memory that a step frees, kept by the process for the next step.

glibc gives buffers of more than some MiB back to the kernel at once, and gets each page of the next
one anew, by a fault, filled with zeros. A training asks for the same sizes in every step.
"""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST = 1 << 30  # bytes; larger buffers are still given back
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; whether it does. The peak of its memory is the same.

    What the environment says of glibc's thresholds is left as it is, and other C libraries too.
    """
    if any(os.environ.get(name) for name in _SET_BY_USER):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
