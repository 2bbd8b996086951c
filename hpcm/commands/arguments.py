"""Checks of arguments that several commands share."""

from __future__ import annotations

import os
from pathlib import Path

from hpcm import ConfigError
from hpcm.evaluation.image_sets import ImageSet, image_folder, image_set


def device_name(given: str | None) -> str:
    """The device to use. Raises :class:`ConfigError` for one that is not here."""
    import torch

    if given is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(given)
    except RuntimeError:
        raise ConfigError(f"--device {given}: no device; cpu, cuda or cuda:N") from None
    gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ConfigError(f"--device {given}: this machine has {gpus} CUDA devices")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {given}: cpu, cuda or cuda:N")
    return given


def check_folder(folder: Path, flag: str) -> None:
    """Raise :class:`ConfigError` if nothing can be written below ``folder``; creates nothing."""
    there = folder.absolute()
    while not os.path.exists(there):
        there = there.parent
    if not there.is_dir():
        raise ConfigError(f"{flag}: {there} is a file, not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{flag}: {there} cannot be written to")


def check_file(path: Path | None, flag: str) -> None:
    """Raise :class:`ConfigError` if ``path`` cannot be written; creates nothing."""
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{flag} {path}: a folder; name a file")
    check_folder(path.parent, f"{flag} {path}")


def images_at(given: str) -> ImageSet:
    """A set by name, or a folder if ``given`` is a path (with a separator, or ``.``)."""
    is_path = given.startswith(".") or len(Path(given).parts) > 1 or given.endswith("/")
    return image_folder(given) if is_path else image_set(given)
