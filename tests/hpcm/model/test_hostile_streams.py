"""Streams that make the compiled decoder read on: never foreign memory, and never for ever.

Each is decoded in a process of its own, its bytes against a page that cannot be read.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hpcm.model.bitstream import (
    LARGEST_SYMBOL,
    LEAST_STREAM,
    MOST_BITS,
    PART,
    BitstreamError,
    Decoder,
    Rows,
    check_stream,
    encode,
)
from hpcm.model.code_tables import CodeTables, build_tables, default_scale_table
from hpcm.model.entropy import GeneralizedGaussian

ROOT = Path(__file__).parents[3]
START = b"\xff" * 7 + b"\x7f"  # the largest state that an encoder ends with


@pytest.fixture(scope="module")
def rows() -> Rows:
    return Rows(build_tables(default_scale_table(), GeneralizedGaussian()))


def run(program: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own."""
    command = [sys.executable, "-X", "faulthandler", "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


FILES = f"""
from dataclasses import replace
import torch
from benchmarks.guarded_coder import guarded
from hpcm.model import build_model
from hpcm.model.bitstream import BitstreamError
from hpcm.model.container import Container
from hpcm.model.file_codec import FileCodec
from tests.reference.fill_weights import fill_model
codec = FileCodec(fill_model(build_model("hpcm_tiny"), seed=4), "hpcm_tiny")
coded = Container.from_bytes(codec.compress(torch.rand(3, 64, 64)))
for part in ("z", "y"):
    for size in (40, 400, 3_000, 1_000_000):
        for start in (b"", getattr(coded.coded, part)[:8], {START}):
            stream = start + b"\\xff" * size
            file = replace(coded, coded=replace(coded.coded, **{{part: stream}})).to_bytes()
            try:
                with guarded():
                    codec.decompress(file)
            except BitstreamError as error:
                print(part, size, error)
"""


LONGEST = f"""
import contextlib
import torch
from benchmarks.guarded_coder import guarded
from hpcm.model.bitstream import BitstreamError, Decoder, LEAST_STREAM, MOST_BITS, Rows
from hpcm.model.code_tables import build_tables, default_scale_table
from hpcm.model.entropy import GeneralizedGaussian
rows = Rows(build_tables(default_scale_table(), GeneralizedGaussian()))
for count in (1, 100, 20_000):
    most = MOST_BITS * count // 32 * 4
    for size in sorted({{4, most // 64 * 4, most}}):
        for row in (0, 7, 30, 59):
            with guarded(), contextlib.suppress(BitstreamError):
                Decoder({START} + b"\\xff" * size, rows, count).read(torch.full((count,), row))
"""


def test_files_whose_streams_are_ones_and_the_longest_streams() -> None:
    """In an escape code digits of 15 add up, so that few bytes make the coder read many more."""
    done = run(FILES + LONGEST)
    assert done.returncode == 0, done.stderr[-2000:]
    refusals = done.stdout.splitlines()
    assert len(refusals) == 24
    assert all("does not begin like a stream" in refusal for refusal in refusals[::3])
    for part, lines in (("z", refusals[:12]), ("y", refusals[12:])):
        assert all(f"bytes of {part} are too many" in line for line in lines[-2:])


def test_without_zeros_behind_a_stream_the_process_ends() -> None:
    """The one above can fail."""
    done = run(LONGEST.replace("rows =", "Decoder._pad = lambda self: b''\nrows =", 1))
    assert done.returncode == -signal.SIGSEGV, done.stderr[-2000:]


def test_a_state_that_no_encoder_ends_with(rows: Rows) -> None:
    for state in (0, 2**31 - 1, 2**63, 2**64 - 1):
        with pytest.raises(BitstreamError, match="does not begin like"):
            Decoder(state.to_bytes(8, "little") + bytes(8), rows, 9)
    for state in (2**31, 2**63 - 1):
        Decoder(state.to_bytes(8, "little") + bytes(8), rows, 9)


def test_a_stream_longer_than_its_symbols_can_need(rows: Rows) -> None:
    """The longest escape codes there are are as long as a stream may be, and not longer."""
    for row in range(60):
        for symbol in (LARGEST_SYMBOL - 1, 1 - LARGEST_SYMBOL):
            count = 500
            symbols = torch.full((count,), symbol, dtype=torch.int64)
            indexes = torch.full((count,), row)
            stream = encode(symbols, indexes, rows)
            assert torch.equal(Decoder(stream, rows, count).read(indexes), symbols.float())
            limit = LEAST_STREAM + MOST_BITS * count // 8
            assert limit - 2 * count < len(stream) <= limit
            with pytest.raises(BitstreamError, match="of y are too many"):
                check_stream(stream + bytes(limit), count, 0, "y")


def test_symbols_that_the_compiled_encoder_never_ends_with(rows: Rows) -> None:
    """From about 2^27 on its loop over the digits goes on for ever (a shift by all 32 bits)."""
    for symbol in (LARGEST_SYMBOL, -LARGEST_SYMBOL, 2**28):
        with pytest.raises(BitstreamError, match="too large to be coded"):
            encode(torch.tensor([symbol]), torch.tensor([0]), rows)


@pytest.mark.parametrize("row", [0, 30, 59])
def test_symbols_just_outside_their_table_are_read_however_many(rows: Rows, row: int) -> None:
    """The shortest escape codes; in row 59 they are the likeliest, 422 of 65,536."""
    first, size = rows.offsets[row], rows.lengths[row] - 2
    for symbol in (first + size, first - 1):
        symbols = torch.full((300_000,), symbol)
        indexes = torch.full((300_000,), row)
        found = Decoder(encode(symbols, indexes, rows), rows, 300_000).read(indexes)
        assert torch.equal(found, symbols.float())
        assert rows.escapes(symbols, indexes) == 300_000
    assert rows.escapes(torch.tensor([first, first + size - 1]), torch.tensor([row, row])) == 0


def test_zeros_behind_a_stream_are_a_few_bytes_a_symbol(rows: Rows) -> None:
    """Not 59 bytes for each, as all of them could take by themselves."""
    million = Decoder(START + bytes(10**6), rows, 10**7)
    assert len(million._pad()) < 10 * 10**7


def test_a_table_that_is_all_escape() -> None:
    """The widest escape makes zeros dearest."""
    tables = CodeTables(
        torch.tensor([[0, 1, 2**16]]), torch.tensor([3]), torch.tensor([0], dtype=torch.int32)
    )
    rows = Rows(tables)
    assert rows.escape_bits[1] == 17 + 4 * (9 + 15 * 8)
    indexes = torch.zeros(50, dtype=torch.int64)
    Decoder(START + b"\xff" * 200, rows, 50).read(indexes)


def test_a_stream_that_goes_on_with_escapes_is_left(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the zeros behind a stream are counted by: a look after each part of what is read."""
    asked: list[int] = []

    class Coder:
        def set_stream(self, stream: bytes) -> None:
            pass

        def decode_stream(self, indexes: list[int], *tables: object) -> list[int]:
            asked.append(len(indexes))
            return [2**20] * len(indexes)

    monkeypatch.setattr("hpcm.model.bitstream._rans", lambda: SimpleNamespace(RansDecoder=Coder))
    decoder = Decoder(START + bytes(10**6), rows, 10**7, what="y")
    with pytest.raises(BitstreamError, match="y is damaged: more symbols outside their tables"):
        decoder.read(torch.zeros(10**7, dtype=torch.int64))
    assert asked == [PART] * 3  # 706,000 escapes have room in 10^6 bytes
