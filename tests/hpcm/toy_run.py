"""A run of the toy codec, for tests of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.conftest import synthetic_image
from tests.toy_codec import ToyCodec

CONFIG = {
    "data": {"train": "few", "val": "few", "patch": 64, "batch_size": 1, "workers": 0},
    "epochs": 3,
    "schedule_horizon": 6,
}


def toy_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run config in an empty working directory, two images, and the toy as the only model."""
    (tmp_path / "data" / "few").mkdir(parents=True)
    for index in range(2):
        picture = Image.fromarray(synthetic_image(64, 128, index))
        picture.save(tmp_path / "data" / "few" / f"{index}.png")
    monkeypatch.setenv("HPCM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("hpcm.training.run.build_model", lambda model: ToyCodec())
    monkeypatch.setattr("hpcm.commands.trained_model.build_model", lambda model: ToyCodec())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = Path("toy.yaml")
    path.write_text(yaml.safe_dump(CONFIG))
    return path


def metrics(folder: Path) -> list[dict[str, float]]:
    """What a run recorded per epoch, without what differs from run to run."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key != "train/seconds"}
        for line in lines
    ]


def tree() -> set[Path]:
    """Every file and folder below the working directory."""
    return set(Path().rglob("*"))
