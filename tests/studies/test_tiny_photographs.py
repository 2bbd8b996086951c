"""`make study`: its steps, in order and each once; the commands are played against a clock."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from hpcm import TrainConfig
from studies.tiny_photographs import photographs, study
from studies.tiny_photographs.study import INTERRUPTED, SEARCHES, Stopped, Study, follow
from tests.tuning.ladders.small_ladder import LMBDAS, ladder, score, trained
from tests.tuning.page.test_report import of_space, searched
from tuning.__main__ import main
from tuning.ledger.ledger import read_trials
from tuning.results.export import export_best
from tuning.results.ladder import judge, verdict_data, write_verdict
from tuning.results.tables import read_result

LENGTH = ("base.epochs=9", "base.schedule_horizon=9")  # of the small searches


class Played(Study):
    """Searches and ladder of small spaces in seconds; every command is kept."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, short=False, end=float("inf"))
        self.ran: list[tuple[str, ...]] = []
        self.balanced = ""  # the search whose configs balance

    def run(self, *words: str) -> None:
        self.ran.append(words)
        (self.folder / "commands.txt").write_text("as they were")
        if words[0] == "tune.py":
            self.search(Path(words[2]).stem)
        elif words[2:3] == ("ladder",):
            self.ladder(Path(words[3]).stem, words[5])
        elif words[2:3] == ("report",):
            assert main(list(words[2:])) == 0

    def search(self, name: str) -> None:
        place = self.folder.parent / name
        place.mkdir()
        space = replace(of_space(place), name=name)
        if name == self.balanced:
            space = replace(space, base={**space.base, "balancer": {"name": "famo"}})
        made = searched(place, space)
        directory = made.rename(self.folder / f"{name}-1")
        export_best(read_result(directory.name, str(self.folder)))

    def ladder(self, name: str, against: str) -> None:
        place = self.folder.parent / name
        place.mkdir()
        space = ladder(place, "--against", against, "--set", *LENGTH)
        directory = self.folder / f"{name}-ladder-1"
        trained(directory, space)
        runs = read_trials(directory)
        folder = score(directory, runs, dict.fromkeys(LMBDAS, 3.0))
        write_verdict(directory, verdict_data(space, [judge(folder, space, runs)]))


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    for name in photographs.SETS:
        (tmp_path / "data" / f"photographs_{name}").mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "data" / f"photographs_{name}" / "one.png")
    monkeypatch.setenv("HPCM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("tuning.results.export.data_facts", lambda config: [])
    monkeypatch.setattr(
        "tuning.results.export._target", lambda result, best: result.info.space.config(best.params)
    )
    monkeypatch.chdir(tmp_path)
    return Played(tmp_path / "experiments")


@pytest.mark.usefixtures("few_draws")
def test_from_photographs_to_a_verdict_and_each_step_once(played: Played, tmp_path: Path) -> None:
    follow(played, tmp_path / "results")
    kinds = [words[0] if words[0] != "-m" else words[2] for words in played.ran]
    steps = ["tune.py", "tune.py", "ladder"]
    reports = ["report"] * 3
    assert kinds == ["studies/tiny_photographs/photographs.py", *steps, *reports]
    page = (tmp_path / "results" / "README.md").read_text()
    assert "- photos: best against baseline, PSNR: BD-rate -3.00 % [-3.00, -3.00]" in page
    assert "best by mean" in page
    assert str(tmp_path) not in page
    facts = json.loads((tmp_path / "results" / "study.json").read_text())
    assert facts["winner"]["experiment"] == "phase1_photographs-1"
    assert set(facts["images"]) == {f"photographs_{name}" for name in photographs.SETS}
    for name in SEARCHES:
        own = tmp_path / "results" / name
        assert {path.name for path in own.iterdir()} == {"trials.csv", "report.html", "best.yaml"}
        rows = list(csv.DictReader((own / "trials.csv").read_text().splitlines()))
        assert len(rows) == 12 + 3 + 6  # searched, reference runs, on fresh seeds

    before = played.ran.copy()
    played.ran.clear()
    follow(played, tmp_path / "results")
    assert played.ran == [before[0], *before[4:]]


@pytest.mark.usefixtures("few_draws")
def test_a_winner_that_balances_is_compared_with_the_tuned_sum_too(
    played: Played, tmp_path: Path
) -> None:
    played.balanced = SEARCHES[0]  # on a tie the first search has the winner
    follow(played, tmp_path / "results")
    against = [words[5] for words in played.ran if words[2:3] == ("ladder",)]
    assert against == ["baseline", str(played.folder / "tuned_sum.yaml")]
    winner, rival = (
        TrainConfig.from_yaml(tmp_path / "results" / f"{name}.yaml")
        for name in ("winner", "tuned_sum")
    )
    assert (winner.balancer.name, rival.balancer.name) == ("famo", "sum")
    assert "and sum." in (tmp_path / "results" / "README.md").read_text()


def test_a_command_that_takes_longer_than_the_sitting_is_interrupted(tmp_path: Path) -> None:
    """And the next sitting goes on."""
    sitting = Study(tmp_path, short=False, end=0.0)
    with pytest.raises(Stopped) as stopped:
        sitting.run("-c", "import time; time.sleep(600)")
    assert stopped.value.code == INTERRUPTED
    assert "python -c" in (tmp_path / "commands.txt").read_text()


def test_every_photograph_has_a_place_of_its_own_and_no_photographer_two() -> None:
    rows = photographs.photographs()
    assert len({(row["set"], row["name"]) for row in rows}) == len(rows) >= 25
    assert len({row["sha256"] for row in rows}) == len(rows)
    authors: dict[str, set[str]] = {}
    for row in rows:
        assert row["licence"]
        for author in row["author"].split(", "):
            authors.setdefault(author, set()).add(row["set"])
    assert [a for a, sets in authors.items() if len(sets) > 1] == []


def test_a_file_that_is_another_one_is_refused(tmp_path: Path) -> None:
    row = {**photographs.photographs()[0]}
    Image.new("RGB", (32, 32)).save(tmp_path / "file.png")
    with pytest.raises(photographs.FetchError, match="SHA-256") as error:
        photographs._write(tmp_path / "file.png", tmp_path / "new.png", row)
    assert row["version"] in str(error.value)
    assert not (tmp_path / "new.png").exists()


def test_both_searches_train_and_select_on_the_photographs() -> None:
    from tuning import load_space

    for name in SEARCHES:
        space = load_space(study.HERE / f"{name}.yaml", "laptop")
        assert space.base["data"]["train"] == "photographs_train"
        assert space.base["data"]["val"] == "photographs_val"
        assert space.objective.metric == "delta_rate"
        assert not {int(seed) for seed in study.SEEDS} & {0, *space.confirm.seeds}
