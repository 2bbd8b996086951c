"""What a search proposes, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.lr_space import METRIC, kill, lr_space, open_ledger
from tuning.ledger.events import Finished, Report, Stopped
from tuning.ledger.ledger import Ledger
from tuning.search.decisions import Idle, Start
from tuning.search.search import Search
from tuning.search.tpe_section import Tpe
from tuning.spaces.draws import total_trials
from tuning.spaces.space import SearchSpace


class Asked:
    """A search that is asked by hand; trials are played one after the other."""

    def __init__(self, folder: Path, space: SearchSpace) -> None:
        self.space = space
        self.ledger: Ledger = open_ledger(folder)
        self.notes: list[str] = []
        self.search = Search(space, self.ledger, notify=self.notes.append)

    def next(self) -> Start:
        found = self.search.next()
        assert isinstance(found, Start)
        return found

    def play(self, start: Start, epochs: int = 9, rung: int | None = None) -> None:
        """Report up to ``epochs`` and finish, or stop at ``rung``, whatever a scheduler says."""
        number = start.trial
        self.search.started(number)
        for epoch in range(1, epochs + 1):
            value = abs(start.params.get("optimizer.lr", 1e-4) - 1e-4) * 1e4 + 1 / epoch
            self.ledger.append(Report(number, {"epoch": float(epoch), METRIC: value}))
        self.ledger.append(Stopped(number, rung=rung) if rung else Finished(number))
        self.search.process_ended(number)


def asked(folder: Path, **sections: dict[str, Any]) -> Asked:
    return Asked(folder, lr_space(folder, **sections))


def test_the_prior_is_trial_0_and_the_budget_is_kept(tmp_path: Path) -> None:
    run = asked(tmp_path)
    starts = [run.next() for _ in range(8)]
    assert starts[0] == Start(0, {"optimizer.lr": 2.0e-4})
    assert [start.trial for start in starts] == list(range(8))
    assert len({start.params["optimizer.lr"] for start in starts}) == 8
    assert run.search.next() is Idle.NOT_NOW  # they run
    for number in range(8):
        run.ledger.append(Finished(number))
    assert run.search.next() is Idle.OVER
    assert [r.params for r in run.ledger.records()] == [start.params for start in starts]
    run.ledger.close()


def test_a_searcher_that_breaks_ends_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(section: Tpe, *given: object) -> Any:
        raise RuntimeError("a single direction cannot be retrieved")

    monkeypatch.setattr(Tpe, "study", breaks)
    run = asked(tmp_path, searcher={"prior_share": 0.0})
    run.play(run.next())
    start = run.next()
    assert run.ledger.trials[1].source in ("random", "prior_sample")
    assert start.params["optimizer.lr"] != 2.0e-4
    message = "trial 1 is drawn at random: a single direction cannot be retrieved"
    assert run.notes == [f"searcher {run.space.searcher.name} failed, {message}"]
    run.ledger.close()


def test_nothing_is_proposed_while_the_experiment_closes(tmp_path: Path) -> None:
    run = asked(tmp_path)
    run.search.close("signal")
    assert run.search.next() is Idle.OVER
    assert run.ledger.trials == {}
    run.ledger.close()


def test_after_a_kill_unfinished_trials_come_first_under_their_numbers(tmp_path: Path) -> None:
    run = asked(tmp_path)
    run.play(run.next())
    run.play(run.next(), 1, rung=1)
    second, third = run.next(), run.next()
    kill(run.ledger)
    again = Asked(tmp_path, run.space)
    assert [again.next(), again.next()] == [second, third]
    assert again.next().trial == 4
    again.ledger.close()


def test_killed_and_resumed_proposes_what_one_without_a_kill_does(tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    proposed: dict[Path, list[Start]] = {straight: [], broken: []}
    for folder, starts in proposed.items():
        folder.mkdir()
        run = asked(folder)
        for number in range(8):
            start = run.next()
            if folder is broken and number in (2, 5):  # killed while it runs, resumed
                kill(run.ledger)
                run = asked(folder)
                start = run.next()
            starts.append(start)
            run.play(start, *((9, None) if number % 3 else (3, 3)))
        run.ledger.close()
    assert proposed[straight] == proposed[broken]
    assert len({start.params["optimizer.lr"] for start in proposed[straight]}) == 8


def test_the_seed_decides(tmp_path: Path) -> None:
    found = []
    for index, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(index)
        folder.mkdir()
        run = asked(folder, searcher={"seed": seed})
        found.append([run.next().params["optimizer.lr"] for _ in range(6)])
        run.ledger.close()
    assert found[0] == found[1]
    assert found[0][1:] != found[2][1:]


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_conditional_spaces(tmp_path: Path, name: str, space_file: Callable[..., Path]) -> None:
    """Every proposal is a config that can be built, with the active coordinates and no other."""
    from tuning import load_space

    def change(data: dict[str, Any]) -> None:
        data["searcher"] = {"name": name, "seed": 3}
        if name == "tpe":
            data["searcher"]["startup_trials"] = 3

    run = Asked(tmp_path, load_space(space_file(change), "laptop"))
    balancers = set()
    for _ in range(12):
        start = run.next()
        flat = dict(start.params)
        assert run.space.active(flat) == flat
        assert run.space.config(flat).optimizer.lr == flat["optimizer.lr"]
        balancers.add(flat["balancer.name"])
        run.play(start, 2, rung=1)
    assert len(balancers) > 1
    run.ledger.close()


def test_tpe_learns_where_random_does_not(tmp_path: Path) -> None:
    """The best of the model's proposals is nearer to the optimum than the best at random."""
    distance = {}
    for name in ("tpe", "random"):
        folder = tmp_path / name
        folder.mkdir()
        space = lr_space(folder, budget={"trials": 40}, searcher={"prior_share": 0.0})
        if name == "random":
            space = _with_random(folder)
        run = Asked(folder, space)
        rates = []
        for _ in range(40):
            start = run.next()
            rates.append(start.params["optimizer.lr"])
            run.play(start, 1)
        distance[name] = sum(sorted(abs(rate - 1e-4) for rate in rates[20:])[:10])
        run.ledger.close()
    assert distance["tpe"] < distance["random"] / 2


def _with_random(folder: Path) -> SearchSpace:
    import yaml

    from tuning import load_space

    path = folder / "rates.yaml"
    data = yaml.safe_load(path.read_text())
    data["searcher"] = {"name": "random", "seed": 0, "prior_share": 0.0}
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return load_space(path)


def test_grid_tries_every_combination_once(tmp_path: Path) -> None:
    import yaml

    from tuning import load_space

    lr_space(tmp_path)
    path = tmp_path / "rates.yaml"
    data = yaml.safe_load(path.read_text())
    data["searcher"] = {"name": "grid"}
    data["parameters"] = {
        "optimizer.lr": {"type": "categorical", "choices": [1e-5, 1e-4, 1e-3], "prior": 1e-4},
        "data.batch_size": {"type": "int", "low": 1, "high": 2, "prior": 2},
    }
    data["budget"]["trials"] = 100
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    run = Asked(tmp_path, load_space(path))
    assert total_trials(run.space) == 6
    found = [run.next() for _ in range(6)]
    assert run.search.next() is Idle.NOT_NOW
    assert found[0] == Start(0, {"optimizer.lr": 1e-4, "data.batch_size": 2})
    assert len({tuple(start.params.items()) for start in found}) == 6
    run.ledger.close()


def test_a_point_of_a_grid_that_crashed_takes_no_other_points_place(tmp_path: Path) -> None:
    choices = {"type": "categorical", "choices": [1e-5, 1e-4, 1e-3, 1e-2], "prior": 1e-4}
    sections: dict[str, Any] = {"parameters": {"optimizer.lr": choices}, "budget": {"trials": 4}}
    run = asked(tmp_path, **sections, searcher={"name": "grid"})
    found = []
    for _ in range(4):
        start = run.next()
        found.append(start.params["optimizer.lr"])
        run.search.started(start.trial)
        run.search.gave_up(start.trial, "crashed: RuntimeError: a cosmic ray")
        run.search.process_ended(start.trial)
    assert sorted(found) == [1e-5, 1e-4, 1e-3, 1e-2]
    run.ledger.close()


def test_a_grid_after_another_searcher_leaves_no_point_out(tmp_path: Path) -> None:
    choices = {"type": "categorical", "choices": [1e-5, 1e-4, 1e-3, 1e-2], "prior": 1e-4}
    sections: dict[str, Any] = {"parameters": {"optimizer.lr": choices}, "budget": {"trials": 4}}
    drawn = Asked(tmp_path, lr_space(tmp_path, **sections, searcher={"name": "random"}))
    first = [drawn.next() for _ in range(2)]
    drawn.ledger.close()
    again = Asked(tmp_path, lr_space(tmp_path, **sections, searcher={"name": "grid"}))
    assert [again.next().trial for _ in range(2)] == [0, 1]  # those that were not ended
    rest = [again.next() for _ in range(2)]
    rates = {start.params["optimizer.lr"] for start in (*first, *rest)}
    assert len(rates) == 2 + len({start.params["optimizer.lr"] for start in first})
    again.ledger.close()
