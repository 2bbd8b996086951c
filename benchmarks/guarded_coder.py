"""CompressAI's rANS decoder against a wall: behind its stream lies memory that cannot be read.

One word read too far ends the process (SIGSEGV); otherwise it finds whatever is there. The
stream is copied to the end of pages of its own, a page without access behind them, and the
decoder's pointer is set there. That needs the layout of the compiled object, which is checked.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from hpcm.model import bitstream

STATE = 8  # bytes of the coder's state, which a stream begins with
NO_ACCESS = 0  # PROT_NONE


@contextmanager
def guarded() -> Iterator[None]:
    """Inside: every stream that is decoded lies against such a page."""
    coder = bitstream._rans()
    names = {"BufferedRansEncoder": coder.BufferedRansEncoder, "RansDecoder": GuardedDecoder}
    GuardedDecoder.compiled = coder.RansDecoder
    with patch.object(bitstream, "_rans", lambda: SimpleNamespace(**names)):
        yield


class GuardedDecoder:
    """As the compiled class of the same methods."""

    compiled: Any = None

    def __init__(self) -> None:
        self._coder = self.compiled()

    def set_stream(self, stream: bytes) -> None:
        """Copy the stream before a page without access and let the decoder read there.

        Raises RuntimeError if the compiled object is not laid out as known.
        """
        self._coder.set_stream(stream[:STATE])
        # pybind11: the object's address behind the PyObject; then rans, std::string, pointer.
        fields = (ctypes.c_uint64 * 6).from_address(
            ctypes.c_uint64.from_address(id(self._coder) + 16).value
        )
        state = int.from_bytes(stream[:STATE], "little")
        if (fields[0], fields[2], fields[5] - fields[1]) != (state, STATE, STATE):
            raise RuntimeError("the layout of compressai.ans.RansDecoder is not the known one")
        readable = -(-len(stream) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(-1, readable + mmap.PAGESIZE)
        wall = ctypes.addressof(ctypes.c_char.from_buffer(self._memory)) + readable
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mprotect(ctypes.c_void_p(wall), mmap.PAGESIZE, NO_ACCESS):
            raise OSError(ctypes.get_errno(), "mprotect")
        ctypes.memmove(wall - len(stream), stream, len(stream))
        fields[5] = wall - len(stream) + STATE

    def decode_stream(self, *arguments: Any) -> list[int]:
        """The next symbols."""
        found: list[int] = self._coder.decode_stream(*arguments)
        return found
