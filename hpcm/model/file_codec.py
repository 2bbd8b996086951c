"""Images to files and back: padding, the container, and every check before memory is taken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from hpcm.model.bitstream import BitstreamError
from hpcm.model.codec import decode_image, encode_image
from hpcm.model.container import Arithmetic, Container, weights_digest
from hpcm.model.hpcm import HPCM
from hpcm.model.memory import check_memory

Z_STRIDE = 64  # pixels per element of z


class FileCodec:
    """Codes single images (3, H, W) in [0, 1] of any size with one model, in evaluation mode.

    ``config`` is the digest of the run that trained the model, or "".
    """

    def __init__(self, model: HPCM, name: str, config: str = "") -> None:
        self.model, self.name, self.config = model.eval(), name, config
        model.update()

    @cached_property
    def digest(self) -> bytes:
        """The digest of the model's weights and code tables."""
        return weights_digest(self.model)

    def compress(self, image: Tensor, portable: bool = False) -> bytes:
        """The file of an image (3, H, W).

        ``portable``: also decodable if arithmetic rounds differently, for about 1 % more bytes.
        Raises ConfigError if the image would not fit into memory.
        """
        _, height, width = image.shape
        top, bottom, left, right = self._padding(height, width)
        where = self.model.means_hyper
        check_memory(self.model.spec, height + top + bottom, width + left + right, where.device)
        x = F.pad(image[None].to(where), (left, right, top, bottom))
        container = Container(
            model=self.name,
            weights=self.digest,
            config=self.config,
            arithmetic=Arithmetic.of(self.model),
            height=height,
            width=width,
            top=top,
            left=left,
            coded=encode_image(self.model, x, portable),
        )
        return container.to_bytes()

    def decompress(self, data: bytes) -> Tensor:
        """The image (3, H, W), in [0, 1], of a file.

        The encoder's number of CPU threads is used, unless the file is portable. Raises
        BitstreamError for what is damaged, of other weights, or made with arithmetic this machine
        does not have; ConfigError if the image would not fit into memory.
        """
        container = Container.from_bytes(data)
        self.check(container)
        height, width = container.height, container.width
        top, bottom, left, right = self._padding(height, width)
        full = (height + top + bottom, width + left + right)
        check_memory(self.model.spec, *full, self.model.means_hyper.device)
        shape = (full[0] // Z_STRIDE, full[1] // Z_STRIDE)
        portable = container.coded.corrections is not None
        with threads(torch.get_num_threads() if portable else container.arithmetic.threads):
            padded = self._decode(container, shape)
        return padded[0, :, top : top + height, left : left + width]

    def check(self, container: Container) -> None:
        """Refuse a file that this model, on this machine, cannot decode. Raises BitstreamError."""
        if (container.model, container.weights) != (self.name, self.digest):
            raise BitstreamError(
                f"coded with {container.model}, weights {container.weights.hex()}; "
                f"this is {self.name}, weights {self.digest.hex()}"
            )
        padding = self._padding(container.height, container.width)
        if (container.top, container.left) != (padding[0], padding[2]):
            raise BitstreamError("the padding is not that of the image's size")
        here, there = Arithmetic.of(self.model), container.arithmetic
        portable = container.coded.corrections is not None
        if not portable and (here.device, here.dtype) != (there.device, there.dtype):
            raise BitstreamError(
                f"coded on {there.device} in {there.dtype}; this is {here.device} in {here.dtype}, "
                "which rounds differently: decode there, or compress as portable"
            )
        if not portable and not 1 <= there.threads <= most_threads():
            raise BitstreamError(
                f"coded with {there.threads} CPU threads; at most {most_threads()} can be used "
                "here: decode there, or compress as portable"
            )

    def _decode(self, container: Container, shape: tuple[int, int]) -> Tensor:
        try:
            return decode_image(self.model, replace(container.coded, shape=shape))
        except BitstreamError as error:
            here, there = Arithmetic.of(self.model), container.arithmetic
            if here == there:
                raise
            raise BitstreamError(f"{error} (coded with: {there}; this is: {here})") from None

    def _padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, bottom, left, right: symmetric, the odd pixel below and right."""
        rows, columns = -height % self.model.stride, -width % self.model.stride
        return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2


def most_threads() -> int:
    """Four per core, and 32 in any case: more than that take seconds to wait for one another."""
    return max(32, 4 * (os.cpu_count() or 1))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside: this many CPU threads, at most `most_threads`."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(max(count, 1), most_threads()))
    try:
        yield
    finally:
        torch.set_num_threads(before)
