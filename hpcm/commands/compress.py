"""``compress IMAGE ..``: images to bitstreams."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from hpcm import ConfigError
from hpcm.commands.codec import SUFFIX, add_common_arguments, each, naming, write_file
from hpcm.evaluation.decoding import DAMAGED, read_rgb
from hpcm.model.file_codec import FileCodec, most_threads, threads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it takes."""
    parser.add_argument("files", type=Path, nargs="+", metavar="IMAGE", help="PNG, JPEG, WebP ..")
    parser.add_argument(
        "--portable",
        action="store_true",
        help="decodable on machines that round differently, for a few per cent more bytes",
    )
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="CPU threads; a decoder uses as many"
    )
    add_common_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write ``DIR/<name>.hpcm`` for each image; see the module."""

    def compress(codec: FileCodec, source: Path, target: Path) -> str:
        try:
            pixels = read_rgb(source)
        except DAMAGED as error:
            raise ConfigError(f"{source}: cannot be read as an image: {error}") from None
        image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        data = naming(source, lambda: codec.compress(image, arguments.portable))
        write_file(target, lambda file: file.write(data))
        height, width = pixels.shape[:2]
        return f"{len(data)} bytes, {8 * len(data) / height / width:.4f} bpp"

    with threads(arguments.threads or torch.get_num_threads()):
        return each(arguments, SUFFIX, compress)


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= most_threads():
        raise argparse.ArgumentTypeError(f"{text}; must be 1 to {most_threads()}")
    return int(text)
