"""The images behind a number, named as `python -m hpcm data` names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcm import TrainConfig
from hpcm.__main__ import main
from tests.tuning.lr_space import lr_space
from tuning.ledger.folders import write_experiment
from tuning.ledger.provenance import data_facts
from tuning.page.health import _record
from tuning.page.live_ledger import LiveLedger


def config(**data: object) -> TrainConfig:
    return TrainConfig.from_plain({"data": data}, "test")


def fingerprint(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["data", name]) == 0
    (line,) = [t for t in capsys.readouterr().out.splitlines() if t.startswith("fingerprint")]
    return line.split()[1]


def test_two_sets_by_the_fingerprints_that_data_prints(capsys: pytest.CaptureFixture[str]) -> None:
    facts = dict(data_facts(config(train="sample", val="sample_val")))
    assert facts == {
        "trained on": f"sample, 5 images, {fingerprint('sample', capsys)}",
        "validated on": f"sample_val, 2 images, {fingerprint('sample_val', capsys)}",
    }


def test_one_set_that_is_divided_has_one_fingerprint(capsys: pytest.CaptureFixture[str]) -> None:
    facts = dict(data_facts(config(train="sample", val=None, holdout=2)))
    assert facts == {
        "images": f"sample, 5 images, {fingerprint('sample', capsys)}",
        "trained on": "3 of them",
        "validated on": "2 of them, by data.holdout",
    }


def test_the_record_of_a_page_says_of_what_its_digest_is(tmp_path: Path) -> None:
    space = lr_space(tmp_path)
    space.base["data"] = {"train": "mine", "val": None, "holdout": 6}
    read = {"image set mine": "24 images, 0123456789ab", "weights sample": "9 bytes"}
    write_experiment(tmp_path / "x", space, read=read)
    rows = dict(_record(LiveLedger(tmp_path / "x"), space))
    assert rows["image set mine"] == (
        "24 images, 0123456789ab (of names and sizes); 6 of them validate, the others train"
    )
    assert rows["weights sample"] == "9 bytes"
