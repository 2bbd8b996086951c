"""Images of 128x128 for the toy codec, as a set under ``$HPCM_DATA``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    (root / "gradients").mkdir()
    row, column = np.mgrid[0:128, 0:128] / 128
    for index in range(3):
        waves = [np.sin(6 * row + index), np.cos(7 * column), np.sin(5 * (row + column))]
        pixels = (127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "gradients" / f"{index}.png")
    return root


@pytest.fixture
def image_folder(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HPCM_DATA", str(data_root))
    return "gradients"
