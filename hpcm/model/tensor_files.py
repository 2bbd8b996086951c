"""Files that ``torch.save`` wrote. They may hold anything and come from anybody.

No code in them runs, nothing in them is inflated, and what Python raises for a damaged one is one
message.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from hpcm.files import open_file, readable
from hpcm.schema import ConfigError

_ZIP = b"PK\x03\x04"  # begins what torch.save writes since 1.6
DAMAGED = "it is of another kind, or damaged"


def read_tensors(path: str | Path, device: torch.device | str = "cpu") -> Any:
    """The content of a file of weights, its tensors on ``device``. Raises ConfigError."""
    with readable(path), open_file(path) as file:
        if reason := _why_not(file):
            raise ConfigError(f"{path}: not a file of weights: {reason}")
        try:
            with warnings.catch_warnings():  # of what is refused in the next moment
                warnings.simplefilter("ignore", UserWarning)
                return torch.load(file, map_location=device, weights_only=True)
        except pickle.UnpicklingError as error:
            reason = "it holds more than tensors" if "GLOBAL" in str(error) else DAMAGED
        except EOFError:
            reason = "it ends too early"
        except Exception as error:  # of a damaged file torch raises whatever comes
            reason = " ".join(str(error).split())[:120] or type(error).__name__
    raise ConfigError(f"{path}: not a file of weights: {reason}")


def check_plain(key: Any, value: Any, where: str | Path) -> None:
    """Refuse what is no named tensor of plain numbers in memory. Raises ConfigError."""
    if not isinstance(key, str) or not isinstance(value, Tensor):
        raise ConfigError(f"{where}: {key!r} is {type(value).__name__}, not a named tensor")
    odd = ""
    if value.layout != torch.strided or value.is_nested:
        odd = "sparse"
    elif value.is_meta:
        odd = "empty (of the device meta)"
    elif value.is_complex():
        odd = "complex"
    elif value.numel() * value.element_size() > value.untyped_storage().nbytes():
        odd = "larger than its numbers, which it repeats"
    if odd:
        raise ConfigError(f"{where}: '{key}' is {odd}; a tensor of plain numbers is needed")


def _why_not(file: BinaryIO) -> str:
    """Why a file is not looked into: it is empty, or an archive that takes more than its bytes."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(len(_ZIP))
    file.seek(0)
    if head != _ZIP:
        return "" if size else "it is empty"
    try:
        parts = sum(info.file_size for info in zipfile.ZipFile(file).infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return DAMAGED
    file.seek(0)
    if parts > size:
        return f"it is compressed, {parts:,} bytes in {size:,}; torch.save writes it as it is"
    return ""
