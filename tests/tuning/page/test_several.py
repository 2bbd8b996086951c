"""`list` and `compare`: experiments beside one another, in the terminal and in one file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tuning.ladders.small_ladder import ladder, trained
from tests.tuning.page.test_report import of_space, searched
from tests.tuning.webdriver import browser
from tuning.__main__ import main
from tuning.ledger.folders import write_experiment
from tuning.page.several import compare_data, compare_lines, list_lines
from tuning.spaces.sections import Objective


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Two searches, one of half the trials: `rates-x` and `rates-y`."""
    for name, trials in (("rates-y", 6), ("rates-x", 12)):
        space = of_space(tmp_path)
        space = replace(space, budget=replace(space.budget, trials=trials))
        searched(tmp_path, space).rename(tmp_path / "storage" / name)
    return tmp_path / "storage"


def test_every_experiment_has_a_line(storage: Path, tmp_path: Path) -> None:
    write_experiment(storage / "begun-x", of_space(tmp_path))
    (storage / "odd-x").mkdir()
    (storage / "odd-x" / "experiment.json").write_text("[]")
    trained(storage / "best-ladder-x", ladder(tmp_path))
    head, *lines = list_lines(str(storage))
    assert head.split() == [
        *("experiment", "state", "trials", "best", "prior", "hours", "searched", "by")
    ]
    found = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert re.match(r"complete 12/12 -2\.\d+ % at 9, trial \d+ -\d\.\d+ % ", found["rates-x"])
    assert found["rates-y"].startswith("complete 6/6 ")
    assert found["begun-x"] == "starting 0/12 - - 0.0 CPU-hours tpe, fifo"
    assert "not the record of an experiment" in found["odd-x"]
    assert found["best-ladder-x"].startswith("not complete 16/16 - - ")


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--storage", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no experiment in {tmp_path}\n"


def test_what_differs_and_what_it_cost(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "rates-y", "rates-x", "--storage", str(storage)]
    assert main([*words, "-o", str(tmp_path / "both.html")]) == 0
    told = capsys.readouterr().out
    assert "rates-x differs from rates-y in\n  budget.trials: 6 -> 12\n" in told
    assert "warning" not in told
    assert re.search(r"optimizer\.lr +[\d.e-]+ +[\d.e-]+\n", told)
    assert "best so far after" in told
    data = compare_data(["rates-y", "rates-x"], str(storage))
    small, large = data["experiments"]
    assert small["spent"] < large["spent"]
    assert small["steps"][0] == large["steps"][0]  # both start with the prior
    assert large["steps"][-1][1] <= small["steps"][-1][1]


def test_scores_of_two_quantities_are_said(storage: Path, tmp_path: Path) -> None:
    space = replace(of_space(tmp_path), objective=Objective(metric="val_bpp"))
    searched(tmp_path / "other", space).rename(storage / "rates-z")
    data = compare_data(["rates-x", "rates-z"], str(storage))
    assert data["metric"] is None
    (warning,) = data["warnings"]
    assert "differ in what a score means (objective.metric" in warning
    assert any("objectives differ" in line for line in compare_lines(data))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["rates-x"], "name two experiments or more"),
        (["rates-x", "rates-x"], "name two experiments or more"),
        (["rates-x", "rates-q"], "no such experiment"),
        (["rates-x", "best-ladder-x"], "a ladder, whose runs are not ranked"),
    ],
)
def test_refused(
    storage: Path,
    tmp_path: Path,
    names: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained(storage / "best-ladder-x", ladder(tmp_path, seeds=(1,)))
    assert main(["compare", *names, "--storage", str(storage)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.browser
def test_one_report_of_both(storage: Path, tmp_path: Path) -> None:
    path = tmp_path / "both.html"
    words = ["compare", "rates-x", "rates-y", "--storage", str(storage), "-o", str(path)]
    assert main(words) == 0
    with browser() as page:
        page.size(400, 900)
        page.get(path.as_uri())
        page.wait("return document.querySelectorAll('#incumbent path.curve').length == 2")
        assert page.run("return document.querySelectorAll('#table tbody tr').length") == 2
        assert "budget.trials: 12" in page.run(
            "return document.querySelector('#differs').innerText"
        )
        assert page.run("return document.documentElement.scrollWidth") == 400
        assert page.run("return performance.getEntriesByType('resource').length") == 0
        assert page.console() == []
