"""``compress IMAGE ..`` and ``decompress FILE ..``: images to bitstreams and back."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image

from hpcm import ConfigError
from hpcm.atomic_files import HashedFile, replacing
from hpcm.commands.arguments import add_device, add_imports, check_folder, device_name
from hpcm.commands.trained_model import load_model
from hpcm.evaluation.decoding import DAMAGED, read_rgb
from hpcm.files import read_bytes
from hpcm.model import MODELS
from hpcm.model.bitstream import BitstreamError
from hpcm.model.file_codec import FileCodec, most_threads, threads

SUFFIX = ".hpcm"
T = TypeVar("T")


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``compress`` and ``decompress``."""
    compress = subparsers.add_parser("compress", help="images to bitstreams")
    compress.add_argument("files", type=Path, nargs="+", metavar="IMAGE", help="PNG, JPEG, WebP ..")
    compress.add_argument(
        "--portable",
        action="store_true",
        help="decodable on machines that round differently, for a few per cent more bytes",
    )
    compress.add_argument(
        "--threads", type=_positive, metavar="N", help="CPU threads; a decoder uses as many"
    )
    compress.set_defaults(run=run_compress)
    decompress = subparsers.add_parser("decompress", help="bitstreams to PNG images")
    decompress.add_argument("files", type=Path, nargs="+", metavar="FILE", help=f"*{SUFFIX}")
    decompress.set_defaults(run=run_decompress)
    for parser in (compress, decompress):
        parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
        parser.add_argument(
            "--checkpoint",
            type=Path,
            required=True,
            metavar="CHECKPOINT",
            help="a run's folder, one of its checkpoints, or a file of weights",
        )
        parser.add_argument("--model", choices=sorted(MODELS), help="the variant, of weights")
        add_imports(parser)
        add_device(parser)


def run_compress(arguments: argparse.Namespace) -> int:
    """Write ``DIR/<name>.hpcm`` for each image; see the module."""

    def compress(codec: FileCodec, source: Path, target: Path) -> str:
        try:
            pixels = read_rgb(source)
        except DAMAGED as error:
            raise ConfigError(f"{source}: cannot be read as an image: {error}") from None
        image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        data = _about(source, lambda: codec.compress(image, arguments.portable))
        _write(target, lambda file: file.write(data))
        height, width = pixels.shape[:2]
        return f"{len(data)} bytes, {8 * len(data) / height / width:.4f} bpp"

    with threads(arguments.threads or torch.get_num_threads()):
        return _each(arguments, SUFFIX, compress)


def run_decompress(arguments: argparse.Namespace) -> int:
    """Write ``DIR/<name>.png`` for each file; see the module."""

    def decompress(codec: FileCodec, source: Path, target: Path) -> str:
        data = read_bytes(source)
        image = _about(source, lambda: codec.decompress(data))
        pixels = image.mul(255).round().to("cpu", torch.uint8).permute(1, 2, 0)
        picture = Image.fromarray(pixels.numpy())
        _write(target, lambda file: picture.save(file.stream, format="PNG"))
        return f"{picture.width} x {picture.height}"

    return _each(arguments, ".png", decompress)


def _each(
    arguments: argparse.Namespace, suffix: str, work: Callable[[FileCodec, Path, Path], str]
) -> int:
    """Do the work on every file, with a line each and a progress bar on a terminal."""
    targets = _targets(arguments.files, arguments.output, suffix)
    device = device_name(arguments.device)
    model, about = load_model(arguments.checkpoint, arguments.model)
    codec = FileCodec(model.to(device), about["model"], about.get("config_digest", ""))
    with _progress(len(targets)) as advance:
        for source, target in targets.items():
            advance(f"{target}: {work(codec, source, target)}")
    return 0


def _targets(sources: Iterable[Path], output: Path, suffix: str) -> dict[Path, Path]:
    """Where each file goes. Raises ConfigError where two would be one, or one is there already."""
    targets: dict[Path, Path] = {}
    for source in sources:
        target = output / f"{source.stem}{suffix}"
        if target in targets.values():
            raise ConfigError(f"{source}: another file becomes {target} too")
        if target.exists():
            raise ConfigError(f"{target}: exists already")
        targets[source] = target
    check_folder(output, f"--output {output}")
    return targets


def _about(source: Path, work: Callable[[], T]) -> T:
    """Name the file in what goes wrong."""
    try:
        return work()
    except (BitstreamError, ConfigError) as error:
        raise ConfigError(f"{source}: {error}") from None


def _write(target: Path, write: Callable[[HashedFile], object]) -> None:
    """All of the file or none."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            write(file)
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written: {error.strerror}") from None


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """A function that shows one more finished file."""
    if not sys.stderr.isatty():
        yield lambda line: print(line, flush=True)
        return
    try:
        from rich.progress import Progress
    except ImportError:
        yield lambda line: print(line, flush=True)
        return
    with Progress() as bar:
        task = bar.add_task("", total=total)

        def advance(line: str) -> None:
            bar.console.print(line, highlight=False)
            bar.advance(task)

        yield advance


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= most_threads():
        raise argparse.ArgumentTypeError(f"{text}; must be 1 to {most_threads()}")
    return int(text)
