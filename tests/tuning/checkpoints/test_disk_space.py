"""Room for the checkpoints of a search."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hpcm import ConfigError, build_model
from tests.tuning.lr_space import lr_space
from tuning.checkpoints import disk_space
from tuning.checkpoints.disk_space import check_disk, needed, parameters

MODELS = {"type": "categorical", "choices": ["hpcm_tiny", "hpcm_base"], "prior": "hpcm_tiny"}


def test_the_largest_model_counts(tmp_path: Path) -> None:
    tiny = sum(weight.numel() for weight in build_model("hpcm_tiny").parameters())
    space = lr_space(tmp_path)
    assert parameters(space) == tiny
    searched = lr_space(
        tmp_path,
        base={"data": {"train": "sample", "val": "sample_val"}, "seed": 0, "model": {}},
        parameters={"model.name": MODELS},
    )
    assert parameters(searched) > 20 * tiny
    assert 8 * 12 * tiny <= needed(space, 2) <= (3 * 8) * 12 * tiny


def test_a_disk_that_would_fill_up_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = lr_space(tmp_path)
    need = needed(space, 2)
    free = [need]
    monkeypatch.setattr(
        disk_space.shutil, "disk_usage", lambda path: SimpleNamespace(free=int(free[0]))
    )
    check_disk(space, tmp_path / "not" / "there" / "yet", 2, None)
    assert not (tmp_path / "not").exists()
    free[0] = need - 1000
    with pytest.raises(ConfigError, match=r"checkpoints of 8 trials take up to \d.* GB are free"):
        check_disk(space, tmp_path / "storage", 2, None)
    old = tmp_path / "storage" / "rates-1" / "checkpoints" / "rates-0000" / "epoch-000001"
    old.mkdir(parents=True)
    (old / "model.pt").write_bytes(bytes(2000))
    check_disk(space, tmp_path / "storage", 2, tmp_path / "storage" / "rates-1")
