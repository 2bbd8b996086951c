"""Whose weights a copy has, and what its export says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcm.config import TrainConfig
from tests.tuning.results.test_export import exported, set_on
from tests.tuning.searches import make_space, report
from tuning.ledger.records import Exploit, TrialRecord
from tuning.results.export import export_best
from tuning.results.lineage import Stretch, history_lines, lineage

A, B, C, D = ({"optimizer.name": "adam", "optimizer.lr": 10.0**-k} for k in (2, 3, 4, 5))


def record(number: int, params: dict[str, object], *exploits: Exploit) -> TrialRecord:
    reports = [report(epoch, 1.0) for epoch in range(1, 10)]
    return TrialRecord(
        id=f"x-{number}", number=number, params=params, reports=reports, exploits=list(exploits)
    )


def trials() -> list[TrialRecord]:
    """2 copies 1 at epoch 3; 0 copies 2 at epoch 6, and 1 copies 0 there."""
    return [
        record(0, D, Exploit(6, 2, D, before=A)),
        record(1, A, Exploit(6, 0, A, before=B)),
        record(2, C, Exploit(3, 1, C, before=D)),
    ]


def test_the_way_of_the_weights() -> None:
    first, second, third = trials()
    assert lineage(trials(), first) == [
        Stretch(1, 3, 1, B),
        Stretch(4, 6, 2, C),
        Stretch(7, 9, 0, D),
    ]
    assert lineage(trials(), third) == [Stretch(1, 3, 1, B), Stretch(4, 9, 2, C)]
    assert lineage(trials(), second) == [Stretch(1, 6, 0, A), Stretch(7, 9, 1, A)]
    assert lineage([record(0, A)], record(0, A)) == [Stretch(1, 9, 0, A)]


def test_only_what_changed_is_told(tmp_path: Path) -> None:
    space = make_space(tmp_path)
    prior = space.prior()
    one, other = dict(prior), dict(prior) | {"optimizer.lr": 2.5e-4}
    lines = history_lines(space, [Stretch(1, 3, 1, one), Stretch(4, 9, 0, other)])
    assert lines == [
        "epochs 1 to 3, as trial 1: optimizer.lr 0.0001",
        "epochs 4 to 9, as trial 0: optimizer.lr 0.00025",
    ]
    assert history_lines(space, [Stretch(1, 9, 1, one)]) == []
    first, *_ = history_lines(space, [Stretch(1, 1, 1, one), Stretch(2, 9, 0, other)])
    assert first.startswith("epoch 1, as trial 1: ")


def test_the_export_of_a_copy_says_so_and_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = exported(tmp_path, monkeypatch, "laptop")
    best = result.best
    assert best is not None
    before, donor = dict(best.params), result.trials[2]
    donor.params = before | {"optimizer.lr": 1e-4}
    best.params = before | {"optimizer.lr": 3e-4}
    best.exploits.append(Exploit(3, 2, best.params, before=before))
    export = export_best(result)
    text = export.copied.read_text()
    assert "# epochs 1 to 3, as trial 2: optimizer.lr 0.0001\n" in text
    assert "# epochs 4 to 9, as trial 1: optimizer.lr 0.0003\n" in text
    assert "a run of it alone is another run" in text
    first, second = (command.split() for command in export.repeat.split(" && "))
    assert first[-4:] == ["--epochs", "3", "--output", "runs/quick.laptop-repeated"]
    assert second[4:] == [
        "best/quick.laptop.yaml",
        *("--epochs", "9", "--output", "runs/quick.laptop-repeated", "--resume"),
    ]
    read = TrainConfig.from_yaml(export.copied)
    words = first[first.index("--set") + 1 : first.index("--epochs")]
    assert set_on(read, words) == result.info.space.config(donor.params, epochs=9)
    assert read.optimizer.lr == 3e-4


def test_the_export_of_others_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = exported(tmp_path, monkeypatch, "laptop")
    export = export_best(result)
    assert "changed while" not in export.copied.read_text()
    assert "&&" not in export.repeat
