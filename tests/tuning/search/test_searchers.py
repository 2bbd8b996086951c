"""The searcher without Ray: what it proposes, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from tests.tuning.lr_space import METRIC, kill, lr_space, open_ledger
from tuning.ledger.events import Failed, Finished, Report, Started
from tuning.ledger.ledger import Ledger
from tuning.search.schedulers import build_scheduler
from tuning.search.search import Proposer, build_searcher
from tuning.spaces.draws import total_trials
from tuning.spaces.space import SearchSpace


class Search:
    """A searcher and its ledger; trials are played one after the other."""

    def __init__(
        self, folder: Path, space: SearchSpace, closing: Callable[[], bool] = lambda: False
    ) -> None:
        self.folder, self.space = folder, space
        self.ledger: Ledger = open_ledger(folder)
        self.scheduler = build_scheduler(space, self.ledger)
        self.searcher: Proposer = build_searcher(space, self.ledger, self.scheduler, closing)
        self.asked = 0

    def ask(self) -> Any:
        self.asked += 1
        return self.searcher.suggest(f"ray{self.asked}")

    def play(self, config: dict[str, Any], epochs: int = 9, end: str = "finished") -> None:
        """Report up to ``epochs``, then end, as scheduler and Ray would."""
        number, ray_id = config["trial"], f"ray{self.asked}"
        self.ledger.append(Started(number))
        for epoch in range(1, epochs + 1):
            value = abs(config.get("optimizer.lr", 1e-4) - 1e-4) * 1e4 + 1 / epoch
            self.ledger.append(Report(number, metrics={"epoch": float(epoch), METRIC: value}))
            if epoch < epochs:
                self.searcher.on_trial_result(ray_id, {})
        if end == "diverged":
            self.ledger.append(Failed(number, reason="diverged: inf", diverged=True))
        elif end:
            self.ledger.append(end, number)
        self.searcher.on_trial_complete(ray_id, {}, error=end == "failed")


def search(folder: Path, **sections: dict[str, Any]) -> Search:
    return Search(folder, lr_space(folder, **sections))


def test_the_prior_is_trial_0_and_the_budget_is_kept(tmp_path: Path) -> None:
    run = search(tmp_path)
    configs = [run.ask() for _ in range(8)]
    assert configs[0] == {"trial": 0, "optimizer.lr": 2.0e-4}
    assert [c["trial"] for c in configs] == list(range(8))
    assert len({c["optimizer.lr"] for c in configs}) == 8
    assert run.ask() is None  # not now: they run
    for number in range(8):
        run.ledger.append(Finished(number))
    assert run.ask() == Searcher.FINISHED
    assert [r.params for r in run.ledger.records()] == [
        {"optimizer.lr": c["optimizer.lr"]} for c in configs
    ]
    run.ledger.close()


def test_a_searcher_that_breaks_ends_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuning.searchers import proposer

    def breaks(space: SearchSpace, *given: Any) -> Any:
        if space.searcher.name != "random":
            raise RuntimeError("a single direction cannot be retrieved")
        return propose(space, *given)

    told: list[str] = []
    propose = proposer.propose
    monkeypatch.setattr(proposer, "propose", breaks)
    run = search(tmp_path)
    run.searcher.tell = told.append
    run.play(run.ask())
    config = run.ask()
    assert run.ledger.trials[1].source in ("random", "prior_sample")
    assert config["optimizer.lr"] != 2.0e-4
    said = "trial 1 is drawn at random: a single direction cannot be retrieved"
    assert told == [f"searcher {run.space.searcher.name} failed, {said}"]
    run.ledger.close()


def test_nothing_is_proposed_while_the_experiment_closes(tmp_path: Path) -> None:
    run = Search(tmp_path, lr_space(tmp_path), closing=lambda: True)
    assert run.ask() == Searcher.FINISHED
    assert run.ledger.trials == {}
    run.ledger.close()


def test_after_a_kill_unfinished_trials_come_first_under_their_numbers(tmp_path: Path) -> None:
    run = search(tmp_path)
    run.play(run.ask())
    run.play(run.ask(), 1, "stopped")
    second, third = run.ask(), run.ask()
    kill(run.ledger)
    again = Search(tmp_path, run.space)
    assert [again.ask(), again.ask()] == [second, third]
    assert again.ask()["trial"] == 4
    again.ledger.close()


def test_killed_and_resumed_proposes_what_one_without_a_kill_does(tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    proposed: dict[Path, list[Any]] = {straight: [], broken: []}
    for folder, configs in proposed.items():
        folder.mkdir()
        run = search(folder)
        for number in range(8):
            config = run.ask()
            if folder is broken and number in (2, 5):  # killed while it runs, resumed
                kill(run.ledger)
                run = search(folder)
                config = run.ask()
            configs.append(config)
            run.play(config, *((9, "finished") if number % 3 else (3, "stopped")))
        run.ledger.close()
    assert proposed[straight] == proposed[broken]
    assert len({c["optimizer.lr"] for c in proposed[straight]}) == 8


def test_the_seed_decides(tmp_path: Path) -> None:
    found = []
    for index, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(index)
        folder.mkdir()
        run = search(folder, searcher={"seed": seed})
        found.append([run.ask()["optimizer.lr"] for _ in range(6)])
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

    run = Search(tmp_path, load_space(space_file(change), "laptop"))
    balancers = set()
    for _ in range(12):
        config = run.ask()
        flat = {k: v for k, v in config.items() if k != "trial"}
        assert run.space.active(flat) == flat
        assert run.space.config(flat).optimizer.lr == flat["optimizer.lr"]
        balancers.add(flat["balancer.name"])
        run.play(config, 2, "stopped")
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
        run = Search(folder, space)
        rates = []
        for _ in range(40):
            config = run.ask()
            rates.append(config["optimizer.lr"])
            run.play(config, 1)
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
    run = Search(tmp_path, load_space(path))
    assert total_trials(run.space) == 6
    found = [run.ask() for _ in range(6)]
    assert run.ask() is None
    assert found[0] == {"trial": 0, "optimizer.lr": 1e-4, "data.batch_size": 2}
    assert len({(c["optimizer.lr"], c["data.batch_size"]) for c in found}) == 6
    run.ledger.close()


def test_a_grid_after_another_searcher_leaves_no_point_out(tmp_path: Path) -> None:
    choices = {"type": "categorical", "choices": [1e-5, 1e-4, 1e-3, 1e-2], "prior": 1e-4}
    sections: dict[str, Any] = {"parameters": {"optimizer.lr": choices}, "budget": {"trials": 4}}
    drawn = Search(tmp_path, lr_space(tmp_path, **sections, searcher={"name": "random"}))
    first = [drawn.ask() for _ in range(2)]
    drawn.ledger.close()
    again = Search(tmp_path, lr_space(tmp_path, **sections, searcher={"name": "grid"}))
    assert [again.ask()["trial"] for _ in range(2)] == [0, 1]  # those that were not ended
    rest = [again.ask() for _ in range(2)]
    rates = {config["optimizer.lr"] for config in (*first, *rest)}
    assert len(rates) == 2 + len({config["optimizer.lr"] for config in first})
    again.ledger.close()
