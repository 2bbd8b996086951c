"""Packages that only some parts and commands need, imported when one of those is used."""

from __future__ import annotations

import importlib
from types import ModuleType

from hpcm.schema import ConfigError


def require(package: str, distribution: str, what: str) -> ModuleType:
    """Import ``package``. Raises :class:`ConfigError` with what to install if it is missing."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        raise ConfigError(
            f"{what} needs the package {distribution}, which is not installed; "
            f"`pip install {distribution}`"
        ) from None
