"""``decompress FILE ..``: bitstreams to PNG images."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image

from hpcm.commands.codec import each, naming, write_file
from hpcm.files import read_bytes
from hpcm.model.file_codec import FileCodec


def run(arguments: argparse.Namespace) -> int:
    """Write ``DIR/<name>.png`` for each file; see the module."""

    def decompress(codec: FileCodec, source: Path, target: Path) -> str:
        data = read_bytes(source)
        image = naming(source, lambda: codec.decompress(data))
        pixels = image.mul(255).round().to("cpu", torch.uint8).permute(1, 2, 0)
        picture = Image.fromarray(pixels.numpy())
        write_file(target, lambda file: picture.save(file.stream, format="PNG"))
        return f"{picture.width} x {picture.height}"

    return each(arguments, ".png", decompress)
