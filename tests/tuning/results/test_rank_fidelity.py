"""What a search learns of its own rungs, against a slow twin, by hand, and in whole simulations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuning
from tests.tuning.lr_space import METRIC, lr_space
from tests.tuning.search.test_killed_schedulers import MUTABLE
from tuning.ledger.records import RungEntry, TrialRecord
from tuning.results.outcome import ExperimentResult
from tuning.results.rank_fidelity import (
    RungPair,
    Watched,
    _bootstrap,
    jeffreys,
    rank_fidelity,
    weighted_tau_b,
)
from tuning.results.rank_fidelity_text import rank_fidelity_lines
from tuning.results.replay import replay_cuts
from tuning.spaces.space import SearchSpace


class Ranks:
    """The end is a normal draw for each config; a rung sees it with noise of ``noise`` sd."""

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        rng = np.random.default_rng(abs(hash((params["optimizer.lr"], seed))))
        end, early = rng.normal(), rng.normal()
        return {METRIC: 10 + (end if epoch == 9 else end + self.noise * early) + 1 / epoch}

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        return 60.0


class Lots(Ranks):
    """What a rung sees has nothing to do with the end."""

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        rng = np.random.default_rng(abs(hash((params["optimizer.lr"], seed, epoch))))
        return {METRIC: 10 + rng.normal()}


def plain_tau_b(first: Sequence[float], later: Sequence[float], weights: Sequence[float]) -> float:
    """By its definition: concordant less discordant pairs, over those that are no ties."""
    agree = untied_first = untied_later = 0.0
    for i in range(len(first)):
        for j in range(i):
            pair = weights[i] * weights[j]
            a = (first[i] > first[j]) - (first[i] < first[j])
            b = (later[i] > later[j]) - (later[i] < later[j])
            agree += pair * a * b
            untied_first += pair * abs(a)
            untied_later += pair * abs(b)
    return agree / math.sqrt(untied_first * untied_later)


#: A rung that cuts from the first comparison on.
PILOTS = {"promote": {"pilots": 0}}


def space_of(folder: Path, name: str = "promote", low: int = 1, **scheduler: Any) -> SearchSpace:
    return lr_space(
        folder,
        scheduler={"name": name} | PILOTS.get(name, {}) | scheduler,
        searcher={"name": "random", "prior_share": 0.5},
        parameters=MUTABLE,
        fidelity={"min": low, "max": 9},
    )


def searched(folder: Path, source: Ranks, trials: int = 60, **scheduler: Any) -> ExperimentResult:
    given = {"control": 0.3} | scheduler
    return tuning.simulate(space_of(folder, **given), source, slots=4, seed=1, trials=trials)


def pairs_of(result: ExperimentResult) -> dict[tuple[int, int], RungPair]:
    found = rank_fidelity(result.trials, result.rungs, result.info.space)
    return {(pair.rung, pair.to): pair for pair in found}


@pytest.mark.parametrize("n", [2, 5, 30])
def test_tau_is_that_of_the_slow_twin(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(20):
        first, later = rng.integers(0, 6, (2, n)).astype(float).tolist()
        first[0], later[0], later[-1] = 7.0, 7.0, math.inf
        weights = rng.choice([1.0, 5.0, 20.0], n).tolist()
        expected = plain_tau_b(first, later, weights)
        assert weighted_tau_b(first, later, weights) == pytest.approx(expected)


def test_tau_needs_two_values_on_either_side() -> None:
    assert weighted_tau_b([], [], []) is None
    # 7 of 10 pairs agree: what `scheduler.agreement: 0.4` is compared with
    assert weighted_tau_b([1, 2, 3, 4, 5], [3, 2, 1, 4, 5], [1.0] * 5) == 0.4
    assert weighted_tau_b([1.0], [1.0], [1.0]) is None
    assert weighted_tau_b([1.0, 1.0], [1.0, 2.0], [1.0, 1.0]) is None


def test_the_interval_of_many_is_that_of_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of them drawn, and narrowed, gives the width of whole draws within a fifth."""
    rng = np.random.default_rng(0)
    runs = tuple(
        Watched(k, float(a), float(a + b), 1.0, k % 3 == 0)
        for k, (a, b) in enumerate(rng.normal(size=(200, 2)))
    )
    pair = RungPair(1, 9, 3, len(runs), runs)
    whole = pair.interval
    _bootstrap.cache_clear()
    monkeypatch.setattr("tuning.results.rank_fidelity.MOST_DRAWN", 100)
    part = pair.interval
    assert whole is not None
    assert part is not None
    assert whole != part
    assert (part[1] - part[0]) / (whole[1] - whole[0]) == pytest.approx(1.0, abs=0.2)


def test_jeffreys_intervals() -> None:
    """R: binom::binom.bayes(0, 3) with the prior (0.5, 0.5) and 95 % has the upper end 0.5356."""
    assert jeffreys(0, 3) == (0.0, pytest.approx(0.5356, abs=1e-4))
    assert jeffreys(3, 3) == (pytest.approx(1 - 0.5356, abs=1e-4), 1.0)
    low, high = jeffreys(1, 4)
    assert (low, high) == (pytest.approx(0.0285, abs=1e-4), pytest.approx(0.7162, abs=1e-4))


Played = tuple[list[TrialRecord], dict[int, dict[int, RungEntry]], SearchSpace]


def by_hand(folder: Path) -> Played:
    """Nine trials at rung 1, of which a third is kept: 0 to 8 by score; 5 and 8 are controls.

    Trial 4 came as a control when it was 1 of 3, so it would have been promoted anyhow.
    """
    space = space_of(folder, control=0.25)
    arrivals = [(4, 4.0, True), (7, 7.0, False), (6, 6.0, False), (5, 5.0, True), (8, 8.0, True)]
    arrivals += [(0, 0.0, False), (1, 1.0, False), (2, 2.0, False), (3, 3.0, False)]
    ends = {0: 0.3, 1: 0.1, 2: 0.2, 4: 0.4, 5: 0.15, 8: 0.8}
    entries, trials = {}, []
    for peers, (number, score, control) in enumerate(arrivals, start=1):
        rank = 1 + sum(other < score for _, other, _ in arrivals[: peers - 1])
        entries[number] = RungEntry(number, score, number in ends, rank, peers, control)
        trial = TrialRecord(f"x-{number}", number, {}, reports=[{"epoch": 1.0, METRIC: score}])
        if number in ends:
            trial.reports.append({"epoch": 9.0, METRIC: ends[number]})
            trial.state = "finished"
        trials.append(trial)
    return trials, {1: entries}, space


def test_an_example_by_hand(tmp_path: Path) -> None:
    pair = {p.to: p for p in rank_fidelity(*by_hand(tmp_path)) if p.rung == 1}[9]
    assert {run.trial: run.weight for run in pair.runs} == {0: 1, 1: 1, 2: 1, 4: 1, 5: 4, 8: 4}
    assert [run.trial for run in pair.losers] == [5, 8]
    # Pairs by weight; of those with 5 (4 each) only 0, 2, 4 rank otherwise, 1 and 8 (16) agree.
    # 0-1, 0-2 are discordant (1 each); 0-4, 1-2, 1-4, 2-4 agree (1 each); with 8 all agree.
    agree, discord = 4 + 4 * 4 + 16 + 4, 2 + 3 * 4
    assert pair.tau == pytest.approx((agree - discord) / (agree + discord))
    # A third of the nine that came is 3: before 5 is 1 (weight 1), before 8 are 8.
    assert pair.would_be_kept == 1
    assert pair.regret == pytest.approx(0.0)  # trial 1 is better than 5
    assert not pair.known  # two losers


def test_what_cuts_from_the_first_trial_on_would_have_saved(tmp_path: Path) -> None:
    """5 and 8 lost at epoch 1 and went on for eight epochs; 4 would have been promoted."""
    trials, rungs, space = by_hand(tmp_path)
    for trial in trials:
        trial.cost_hours = 0.1 * trial.epochs
    found = replay_cuts(trials, rungs, space)
    assert found.cuts == {5: 1, 8: 1}
    assert found.hours == pytest.approx(2 * 0.8)


def test_rungs_that_rank_perfectly(tmp_path: Path) -> None:
    result = searched(tmp_path, Ranks(noise=0.0), trials=120)
    known = {key: pair for key, pair in pairs_of(result).items() if pair.known}
    assert known.keys() >= {(1, 3), (3, 9)}
    for pair in known.values():
        assert pair.tau == pytest.approx(1.0)
        assert pair.regret == 0.0
        # Of who was cut in between only a sample is known: there one may look too good.
        assert pair.would_be_kept == 0 or (pair.rung, pair.to) == (1, 9)
        assert not pair.no_better_than_chance
    lines = "\n".join(rank_fidelity_lines(result))
    assert "1.00 [1.00, 1.00]" in lines
    assert "warning" not in lines


def test_rungs_that_do_not_rank(tmp_path: Path) -> None:
    result = searched(tmp_path, Lots(0.0), trials=90)
    pair = pairs_of(result)[1, 9]
    assert pair.known
    assert pair.no_better_than_chance
    lines = rank_fidelity_lines(result)
    assert (
        "warning: the order at epoch 3 foretells that at epoch 9 no better than chance" in lines[-1]
    )
    assert f"{pair.would_be_kept} of {len(pair.losers)} [" in "\n".join(lines)


def test_the_weights_undo_what_the_cut_hides(tmp_path: Path) -> None:
    """Over 20 searches; who watches winners alone sees far less order than there is."""
    weighted, winners, truth = [], [], []
    for seed in range(20):
        space, source = space_of(tmp_path, low=3, control=0.2), Ranks(noise=0.5)
        result = tuning.simulate(space, source, slots=4, seed=seed, trials=32)
        pair = pairs_of(result)[3, 9]
        weighted.append(pair.tau or 0.0)
        kept = [run for run in pair.runs if not run.lost]
        columns = ([r.first for r in kept], [r.later for r in kept], [1.0] * len(kept))
        winners.append(weighted_tau_b(*columns) or 0.0)
        firsts = [trial.reports[0][METRIC] for trial in result.trials]
        ends = [source.report(trial.params, seed, 9)[METRIC] for trial in result.trials]
        truth.append(weighted_tau_b(firsts, ends, [1.0] * len(ends)) or 0.0)
    assert np.mean(weighted) == pytest.approx(np.mean(truth), abs=0.1)
    assert np.mean(truth) - np.mean(winners) > 0.1


def test_below_four_losers_nothing_is_known(tmp_path: Path) -> None:
    result = searched(tmp_path, Ranks(0.5), trials=12, control=0.0)
    assert not any(pair.known for pair in pairs_of(result).values())
    (line,) = rank_fidelity_lines(result)
    assert line.startswith("how well rungs foretell what comes later is not known: 0 trials that")
    assert "(scheduler.control watches more)" in line


class Diverging(Ranks):
    """Who is good at the rung diverges after it."""

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        metrics = super().report(params, seed, epoch)
        return {METRIC: math.nan} if epoch == 2 and metrics[METRIC] < 9.7 else metrics


def test_a_diverged_trial_is_the_worst_later(tmp_path: Path) -> None:
    """It went on from the rung, and that says something of the rung."""
    result = searched(tmp_path, Diverging(0.0))
    pair = pairs_of(result)[1, 3]
    diverged = {run.trial for run in pair.runs if math.isinf(run.later)}
    assert diverged == {trial.number for trial in result.trials if trial.diverged} != set()
    assert (pair.tau or 1.0) < 0.9


@pytest.mark.parametrize(
    ("name", "low", "words"),
    [
        ("fifo", 1, "nothing is cut: every trial trains to the end"),
        ("pbt", 3, "rungs foretell nothing with pbt: trials change their config there"),
        ("hyperband", 1, "(hyperband watches none)"),
    ],
)
def test_who_watches_no_loser_says_so(tmp_path: Path, name: str, low: int, words: str) -> None:
    space = space_of(tmp_path, name, low)
    result = tuning.simulate(space, Ranks(0.1), slots=4, trials=12)
    (line,) = rank_fidelity_lines(result)
    assert words in line
