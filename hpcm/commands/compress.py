"""``compress IMAGE ..``: images to bitstreams."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import UnidentifiedImageError

from hpcm import ConfigError
from hpcm.commands.codec import each, naming, write_file
from hpcm.commands.flags import CODED
from hpcm.evaluation.decoding import DAMAGED, read_rgb, reason_of
from hpcm.model.file_codec import FileCodec, most_threads, threads


def run(arguments: argparse.Namespace) -> int:
    """Write ``DIR/<name>.hpcm`` for each image; see the module."""

    def compress(codec: FileCodec, source: Path, target: Path) -> str:
        try:
            pixels = read_rgb(source)
        except UnidentifiedImageError:
            raise ConfigError(f"{source}: not an image of a known format") from None
        except DAMAGED as error:
            reason = reason_of(error)
            raise ConfigError(f"{source}: cannot be read as an image: {reason}") from None
        image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        data = naming(source, lambda: codec.compress(image, arguments.portable))
        write_file(target, lambda file: file.write(data))
        height, width = pixels.shape[:2]
        return f"{len(data)} bytes, {8 * len(data) / height / width:.4f} bpp"

    if (arguments.threads or 1) > most_threads():
        raise ConfigError(f"--threads {arguments.threads}: at most {most_threads()} here")
    with threads(arguments.threads or torch.get_num_threads()):
        return each(arguments, CODED, compress)
