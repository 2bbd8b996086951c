"""The pictures of baseline, prior and best: made by a report, shown by the page too."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from hpcm import build_model
from tests.tuning.page.test_report import data_of, of_space, searched
from tests.tuning.served import data
from tuning.checkpoints.store import CheckpointStore
from tuning.page.pictures import FILE, compared_runs, pictures_data
from tuning.results.outcome import ExperimentResult
from tuning.results.tables import read_result


def test_pictures_of_baseline_prior_and_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side by side with the original, of two photographs; a reason once a checkpoint is gone."""
    directory = searched(tmp_path, of_space(tmp_path))
    result = read_result(directory.name, str(directory.parent))
    assert "no checkpoint that can be read" in pictures_data(result)["nothing"]
    model, loaded = build_model("hpcm_tiny"), []
    monkeypatch.setattr(
        "hpcm.commands.trained_model.load_model",
        lambda path, variant: (loaded.append(path.parent.name), (model, {}))[1],
    )
    runs = compared_runs(result)
    assert [name for name, _ in runs] == [
        "baseline",
        "the prior",
        f"the best, trial {_best(result)}",
    ]
    for _, run in runs:
        store = CheckpointStore(directory, result.info.space.trial_name(run.number))
        store.save(9, {"epoch": 9.0}, lambda folder: (folder / "model.pt").write_text(""))
    found = data_of(directory)["api/pictures"]
    assert loaded == [f"rates-{run.number:04d}" for _, run in runs]
    assert [one["name"] for one in found["photographs"]] == ["astronaut.png", "chelsea.png"]
    for one in found["photographs"]:
        names = [picture["name"] for picture in one["pictures"]]
        assert names == ["original", *(name for name, _ in runs)]
        for picture in one["pictures"]:
            kind, _, text = picture["source"].partition(",")
            assert kind == "data:image/png;base64"
            with Image.open(io.BytesIO(base64.b64decode(text))) as image:
                assert image.size == (256, 256)
        assert re.fullmatch(r"\d+\.\d{3} bpp, -?\d+\.\d\d dB", one["pictures"][1]["caption"])


def _best(result: ExperimentResult) -> int:
    assert result.best is not None
    return result.best.number


def test_pictures_are_those_that_a_report_has_made(tmp_path: Path) -> None:
    """The page computes none: it shows what the last report kept of the same runs."""
    directory = searched(tmp_path, of_space(tmp_path))
    making = data(directory, "/api/pictures")
    assert making["photographs"] == []
    assert making["nothing"].startswith("python -m tuning report rates-x --storage ")
    result = read_result(directory.name, str(directory.parent))
    runs = [[name, run.id, run.epochs] for name, run in compared_runs(result)]
    shown = [{"name": "astronaut.png", "pictures": []}]
    (directory / FILE).write_text(json.dumps({"runs": runs, "photographs": shown}))
    assert data(directory, "/api/pictures") == {"photographs": shown, "nothing": ""}
    for others in (json.dumps({"runs": runs[1:], "photographs": shown}), "[", "[]"):
        (directory / FILE).write_text(others)
        assert data(directory, "/api/pictures") == making
