"""Images to files and back, and everything a file can be that is not right."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, get_num_threads

from hpcm.model import build_model
from hpcm.model.bitstream import BitstreamError, Rows, check_stream, encode
from hpcm.model.code_tables import build_tables, default_scale_table
from hpcm.model.container import Arithmetic, Container
from hpcm.model.entropy import GeneralizedGaussian
from hpcm.model.file_codec import FileCodec, most_threads
from hpcm.model.hpcm import HPCM
from hpcm.model.memory import coding_memory
from hpcm.model.portable import ambiguous, read_positions, settled_indexes, write_positions
from hpcm.schema import ConfigError
from tests.reference.fill_weights import fill_model

Batch = Callable[..., Tensor]


def lively(seed: int = 4) -> HPCM:
    return fill_model(build_model("hpcm_tiny"), seed)


@pytest.fixture(scope="module")
def codec() -> FileCodec:
    return FileCodec(lively(), "hpcm_tiny", config="0123456789ab")


@pytest.fixture(scope="module")
def file(codec: FileCodec) -> bytes:
    """A coded image of 70 x 90 pixels."""
    generator = torch.Generator().manual_seed(0)
    return codec.compress(torch.rand(3, 70, 90, generator=generator))


def reseal(data: bytes) -> bytes:
    """The file with its checksum made right again."""
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


@pytest.mark.parametrize("size", [(1, 1), (70, 90), (256, 256), (255, 257), (300, 520)])
@pytest.mark.parametrize("portable", [False, True])
def test_round_trip_is_the_evaluated_image(
    codec: FileCodec, image_batch: Batch, size: tuple[int, int], portable: bool
) -> None:
    """Padding as the upstream protocol says: zeros, symmetric, the odd pixel right and below."""
    height, width = size
    image = image_batch(height=height, width=width)[0]
    decoded = codec.decompress(codec.compress(image, portable))
    tall, wide = -height % 256, -width % 256
    padded = torch.zeros(1, 3, height + tall, width + wide)
    inside = slice(tall // 2, tall // 2 + height), slice(wide // 2, wide // 2 + width)
    padded[0, :, inside[0], inside[1]] = image
    with torch.no_grad():
        x_hat = codec.model(padded)["x_hat"].clamp(0, 1)[0, :, inside[0], inside[1]]
    assert torch.equal(decoded, x_hat)


def test_a_file_says_what_it_is(codec: FileCodec, file: bytes) -> None:
    container = Container.from_bytes(file)
    assert (container.model, container.config) == ("hpcm_tiny", "0123456789ab")
    assert (container.height, container.width) == (70, 90)
    assert (container.top, container.left) == (93, 83)
    assert container.weights == codec.digest
    assert container.arithmetic == Arithmetic.of(codec.model)
    assert container.coded.corrections is None
    assert container.to_bytes() == file


def test_a_decoder_takes_the_encoders_threads(codec: FileCodec, file: bytes) -> None:
    used: list[int] = []
    hook = codec.model.h_s.register_forward_pre_hook(lambda *_: used.append(get_num_threads()))
    before = get_num_threads()
    there = replace(Container.from_bytes(file).arithmetic, threads=before + 1)
    with contextlib.suppress(BitstreamError):  # they may round differently; then it is noticed
        codec.decompress(changed(file, arithmetic=there))
    hook.remove()
    assert used == [before + 1]
    assert get_num_threads() == before


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"\x89PNG" + data[4:], "not an HPCM file"),
        (lambda data: b"", "not an HPCM file"),
        (lambda data: data[:4], "version none"),
        (
            lambda data: data[:4] + b"\x02" + data[5:],
            "version 2 of the format; this program reads 1",
        ),
        (lambda data: data[:-1], "cut or damaged"),
        (lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], "cut or damaged"),
        (lambda data: data + b"\0", "cut or damaged"),
        (lambda data: reseal(data[:60] + data[-4:]), "ends inside a field"),
        (lambda data: reseal(data[:-4] + b"\0\0\0\0" + data[-4:]), "bytes follow"),
    ],
)
def test_damaged_files(
    codec: FileCodec, file: bytes, change: Callable[[bytes], bytes], message: str
) -> None:
    with pytest.raises(BitstreamError, match=message):
        codec.decompress(change(file))


def changed(file: bytes, **fields: object) -> bytes:
    return replace(Container.from_bytes(file), **fields).to_bytes()


def test_sizes_that_cannot_be(codec: FileCodec, file: bytes) -> None:
    with pytest.raises(BitstreamError, match="90 x 0 pixels is not possible"):
        codec.decompress(changed(file, height=0))
    with pytest.raises(BitstreamError, match="is not possible"):
        codec.decompress(changed(file, width=2**31))
    with pytest.raises(BitstreamError, match="padding is not that"):
        codec.decompress(changed(file, top=5))


def test_sizes_beyond_memory_are_refused_before_it_is_taken(codec: FileCodec, file: bytes) -> None:
    side = 2**20
    huge = changed(file, height=side, width=side, top=0, left=0)
    with pytest.raises(ConfigError, match=r"needs about \d+.* GiB of memory on cpu"):
        codec.decompress(huge)
    with pytest.raises(ConfigError, match="1048576 x 1048576 pixels needs about"):
        codec.compress(torch.zeros(1, 1, 1).expand(3, side, side))


def refused_before_a_network_runs(codec: FileCodec, file: bytes) -> str:
    """The message."""
    ran: list[object] = []
    hook = codec.model.h_s.register_forward_pre_hook(lambda *_: ran.append(1))
    with pytest.raises(BitstreamError) as refusal:
        codec.decompress(file)
    hook.remove()
    assert ran == []
    return str(refusal.value)


def test_affordable_sizes_that_the_streams_cannot_fill(
    codec: FileCodec, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcm.model.memory.available_memory", lambda device: 2**40)
    large = changed(file, height=8192, width=8192, top=0, left=0)
    assert "bytes of z are too few" in refused_before_a_network_runs(codec, large)
    coded = Container.from_bytes(file).coded
    longer = replace(coded, z=coded.z * 2)  # enough for twice the size, but not made for it
    wider = changed(file, coded=longer, width=270, left=121)
    assert "of an image of another size" in refused_before_a_network_runs(codec, wider)
    short = replace(coded, z=coded.z * 1024, y=coded.y[:8])
    large = changed(file, coded=short, height=8192, width=8192, top=0, left=0)
    assert "bytes of y are too few" in refused_before_a_network_runs(codec, large)


def test_the_shortest_possible_stream_is_not_refused() -> None:
    """Of the likeliest symbols alone, whose cost the least length is made of."""
    rows = Rows(build_tables(default_scale_table(), GeneralizedGaussian()))
    for row, count in ((0, 300_000), (0, 100), (20, 100_000), (59, 10_000)):
        indexes = torch.full((count,), row)
        stream = encode(torch.zeros(count), indexes, rows)
        least = count * rows.least_bits[row]
        check_stream(stream, count, least, "y")
        assert 8 * len(stream) < least + 65 + 32  # and the least is near what it takes
        if least > 4000:
            with pytest.raises(BitstreamError, match="too few"):
                check_stream(stream[:-12], count, least, "y")


def test_a_size_that_is_not_the_coded_one_is_no_image(codec: FileCodec, file: bytes) -> None:
    """Another crop of the same padded image, with the file's checksum made right."""
    place = file.index(struct.pack("<IIHH", 70, 90, 93, 83))
    forged = struct.pack("<IIHH", 72, 90, 92, 83)
    with pytest.raises(BitstreamError, match="not those that were coded"):
        codec.decompress(reseal(file[:place] + forged + file[place + len(forged) :]))


def test_memory_estimate_grows_with_model_and_image() -> None:
    tiny, base = build_model("hpcm_tiny").spec, build_model("hpcm_phi").spec
    assert coding_memory(tiny, 512, 512) == 4 * coding_memory(tiny, 256, 256)
    assert coding_memory(base, 1024, 1024) > 5 * coding_memory(tiny, 1024, 1024)


def test_other_weights(codec: FileCodec, file: bytes) -> None:
    other = FileCodec(lively(seed=5), "hpcm_tiny")
    with pytest.raises(BitstreamError, match="coded with hpcm_tiny, weights .*; this is hpcm_tiny"):
        other.decompress(file)
    with pytest.raises(BitstreamError, match="coded with hpcm_base"):
        codec.decompress(changed(file, model="hpcm_base"))


def test_other_arithmetic(codec: FileCodec, file: bytes, image_batch: Batch) -> None:
    """An exact file is refused on another device or type; a portable one is tried and checked."""
    there = replace(Container.from_bytes(file).arithmetic, device="NVIDIA H200")
    with pytest.raises(BitstreamError, match="coded on NVIDIA H200 in float32; this is cpu"):
        codec.decompress(changed(file, arithmetic=there))
    image = image_batch(height=70, width=90)[0]
    portable = codec.compress(image, portable=True)
    here = codec.decompress(portable)
    assert torch.equal(codec.decompress(changed(portable, arithmetic=there)), here)


def test_absurd_threads_are_refused_where_they_matter(
    codec: FileCodec, file: bytes, image_batch: Batch
) -> None:
    """A thousand threads of a machine with two cores take seconds for what takes a tenth of one."""
    image = image_batch(height=70, width=90)[0]
    portable = codec.compress(image, portable=True)
    here = Arithmetic.of(codec.model)
    for count in (-1, 0, most_threads() + 1, 10**12):
        there = replace(here, threads=count)
        with pytest.raises(BitstreamError, match=f"coded with {count} CPU threads; at most"):
            codec.decompress(changed(file, arithmetic=there))
    seen: list[int] = []
    hook = codec.model.h_s.register_forward_pre_hook(lambda *_: seen.append(get_num_threads()))
    codec.decompress(changed(portable, arithmetic=replace(here, threads=10**12)))
    hook.remove()
    assert seen == [get_num_threads()]


def test_a_flipped_table_on_another_library_is_explained(codec: FileCodec, file: bytes) -> None:
    """The symbols' checksum is the last word, and the message says what differs."""
    container = Container.from_bytes(file)
    there = replace(container.arithmetic, torch="2.8.0")
    wrong = replace(container.coded, symbol_crc=1)
    with pytest.raises(BitstreamError, match=r"not those that were coded.*torch 2\.8\.0; this is"):
        codec.decompress(changed(file, arithmetic=there, coded=wrong))


@pytest.mark.parametrize(
    "text", ["", "cpu; float32; 2 threads", "cpu; float32; x threads; torch 2"]
)
def test_unreadable_arithmetic(text: str) -> None:
    with pytest.raises(BitstreamError, match="unreadable arithmetic"):
        Arithmetic.parse(text)


# ---------------------------------------------------------------- corrections


@pytest.mark.parametrize("total", [1, 10, 100_000])
@pytest.mark.parametrize("share", [0.0, 0.003, 0.5, 1.0])
def test_positions_round_trip(total: int, share: float) -> None:
    rng = np.random.default_rng(1)
    positions = np.flatnonzero(rng.random(total) < share)
    data = write_positions(positions, total)
    np.testing.assert_array_equal(read_positions(data, total), positions)
    if share == 0.003 and total == 100_000:
        p = len(positions) / total
        entropy = -total * (p * np.log2(p) + (1 - p) * np.log2(1 - p)) / 8
        assert len(data) < 1.05 * entropy + 8


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is damaged"),
        (b"\x01\0", "is damaged"),
        (b"\xff\xff\xff\xff\0", "is damaged"),
        (b"\x02\0\0\0\xff", "is cut"),
        (b"\x01\0\0\0\xd0", "leaves the image"),
        (b"\x01\0\0\0\x01", "bytes follow"),  # one bit of what must be zero
        (b"\0\0\0\0\0", "bytes follow"),
        (b"\x01\0\0\0\0\0", "longer than its count"),
    ],
)
def test_damaged_positions(data: bytes, reason: str) -> None:
    with pytest.raises(BitstreamError, match=reason):
        read_positions(data, 9)


@pytest.mark.parametrize("total", [1, 9, 100_000])
def test_a_list_is_as_long_as_its_positions_need_and_no_byte_longer(total: int) -> None:
    rng = np.random.default_rng(2)
    for share in (0.0, 0.001, 0.1, 0.9, 1.0):
        data = write_positions(np.flatnonzero(rng.random(total) < share), total)
        for behind in (b"\0", b"\x80", b"\0" * 1000):
            with pytest.raises(BitstreamError, match=r"bytes follow|longer than its count"):
                read_positions(data + behind, total)
    last = write_positions(np.array([total - 1]), total)  # the most bits that one position takes
    assert read_positions(last, total).tolist() == [total - 1]


def test_a_list_without_end_is_refused_before_it_is_unpacked() -> None:
    for count, body in ((1, b"\xff"), (0, b"\0"), (9, b"\xff"), (9, b"\0")):
        data = count.to_bytes(4, "little") + body * 2_000_000
        tracemalloc.start()
        with pytest.raises(BitstreamError, match="longer than its count"):
            read_positions(data, 8192)
        assert tracemalloc.get_traced_memory()[1] < 100_000
        tracemalloc.stop()


def test_scales_that_differ_as_machines_do_choose_the_same_tables() -> None:
    """The largest difference seen is 4.5e-5: what is not listed is further from a border."""
    table = default_scale_table()
    nearby = torch.linspace(-1e-3, 1e-3, 2001)
    scales = (table[:-1, None].double() * (1 + nearby.double())).flatten()
    listed = ambiguous(scales, table)
    here = settled_indexes(scales, table, listed)
    for difference in (-4.5e-5, 4.5e-5):
        there = settled_indexes(scales * (1 + difference), table, listed)
        assert torch.equal(here, there)
    assert listed.double().mean() < 0.25  # of scales that are all near one
