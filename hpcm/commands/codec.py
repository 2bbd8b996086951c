"""What ``compress`` and ``decompress`` share: from the files that are named to those written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hpcm import ConfigError
from hpcm.atomic_files import HashedFile, replacing
from hpcm.commands.arguments import check_folder, device_name
from hpcm.commands.trained_model import load_model
from hpcm.evaluation.results import written
from hpcm.model.bitstream import BitstreamError
from hpcm.model.file_codec import FileCodec

T = TypeVar("T")


def each(
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
    """Where each file goes. Raises ConfigError if two would be one, or one is there."""
    targets: dict[Path, Path] = {}
    for source in sources:
        target = output / f"{source.stem}{suffix}"
        if target in targets.values():
            raise ConfigError(f"{source}: another file becomes {target} too")
        if target.exists():
            raise ConfigError(f"{target}: exists already; give another --output, or remove it")
        targets[source] = target
    check_folder(output, f"--output {output}")
    return targets


def naming(source: Path, work: Callable[[], T]) -> T:
    """Name the file in what goes wrong."""
    try:
        return work()
    except (BitstreamError, ConfigError) as error:
        raise ConfigError(f"{source}: {error}") from None


def write_file(target: Path, write: Callable[[HashedFile], object]) -> None:
    """All of the file or none."""
    with written(target), replacing(target) as file:
        write(file)


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
