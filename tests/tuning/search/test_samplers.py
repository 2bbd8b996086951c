"""What is proposed next: a function of space, number and records, and what each searcher learns."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import NSGAIISampler

from hpcm import ConfigError
from tests.tuning.small_spaces import SPACE, put, write
from tuning import load_space
from tuning.ledger.records import TrialRecord
from tuning.search.optuna_encoder import OptunaEncoder, frozen_trials, study_of
from tuning.search.sampler_section import SamplerSection
from tuning.search.tpe_section import Tpe
from tuning.spaces.searcher_section import SEARCHERS
from tuning.spaces.space import SearchSpace

FLOAT = {"type": "float", "low": 1.0e-6, "high": 1.0e-2, "log": True, "prior": 1.0e-3}
NUMBERS = {
    "optimizer.lr": FLOAT,
    "clip_max_norm": FLOAT | {"low": 0.1, "high": 10.0, "prior": 5.0},
    "data.batch_size": {"type": "int", "low": 1, "high": 32, "log": True, "prior": 16},
}
CHOICES = {"optimizer.name": {"type": "categorical", "choices": ["adam", "adamw"], "prior": "adam"}}
FRONT = ["val_bpp", "val_psnr"]
#: Sections with which a searcher proposes something of its own after few trials.
SETTINGS: dict[str, dict[str, Any]] = {
    "tpe": {"searcher": {"name": "tpe", "startup_trials": 4}},
    "gp": {"searcher": {"name": "gp", "startup_trials": 4}, "scheduler": {"name": "fifo"}},
    "cmaes": {"searcher": {"name": "cmaes", "population": 4}},
    "nsga": {"searcher": {"name": "nsga", "population": 4}, "objective": {"pareto": FRONT}},
}
SECTIONS: dict[str, dict[str, Any]] = {
    name: SETTINGS.get(name, {"searcher": {"name": name}}) for name in SEARCHERS if name != "grid"
} | {"tpe for two": SETTINGS["tpe"] | {"objective": {"pareto": FRONT}}}


def make(folder: Path, parameters: dict[str, Any] = NUMBERS, **sections: Any) -> SearchSpace:
    """A space of numbers, two rungs."""

    def change(data: dict[str, Any]) -> None:
        data.clear()
        data.update(name="mine", parameters=parameters, budget={"trials": 200}, **sections)
        low = {} if sections.get("scheduler") == {"name": "fifo"} else {"min": 3}
        data["fidelity"] = low | {"max": 9}

    return load_space(write(folder, change))


def distance(space: SearchSpace, params: dict[str, Any]) -> float:
    """From the optimum: 3/10 of every range, and any choice but the first."""
    total = 0.0
    for coordinate in space.coordinates():
        if coordinate.type == "categorical":
            total += params[coordinate.path] == coordinate.choices[0]
        else:
            total += (coordinate.share(params[coordinate.path]) - 0.3) ** 2
    return math.sqrt(total)


def played(space: SearchSpace, number: int, params: dict[str, Any], source: str) -> TrialRecord:
    """The trial with its end: every third is stopped at epoch 3."""
    off = distance(space, params)
    epochs = 3 if number % 3 == 2 and space.rungs()[0] == 3 else 9
    reports = [
        {
            "epoch": float(epoch),
            "val_rd_cost": 1 + off + 1 / epoch,
            "val_bpp": 0.5 + off + params.get("clip_max_norm", 1.0) / 20,
            "val_psnr": 30 - off + params.get("clip_max_norm", 1.0) / 20,
        }
        for epoch in range(1, epochs + 1)
    ]
    state = "finished" if epochs == 9 else "stopped"
    return TrialRecord(f"x-{number}", number, params, source, state=state, reports=reports)


def search(space: SearchSpace, trials: int) -> list[TrialRecord]:
    """One trial after the other, the prior first."""
    searcher = space.searcher.build(space)
    records = [played(space, 0, space.prior(), "prior")]
    for number in range(1, trials):
        records.append(played(space, number, *searcher.propose(number, records)))
    return records


@pytest.fixture(autouse=True)
def _no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("sections", SECTIONS.values(), ids=SECTIONS)
def test_a_proposal_depends_on_seed_number_and_records(
    tmp_path: Path, sections: dict[str, Any]
) -> None:
    space = make(tmp_path, **sections)
    number = 6 if space.searcher.name == "gp" else 14  # gp takes its time
    records = search(space, number)
    again = space.searcher.build(space).propose(number, records)
    assert space.searcher.build(space).propose(number, records) == again
    assert space.searcher.build(space).propose(number + 1, records) != again
    for record in records:
        assert space.active(record.params) == record.params
    other_space = make(tmp_path, **(sections | {"searcher": sections["searcher"] | {"seed": 7}}))
    assert other_space.searcher.build(other_space).propose(number, records) != again


@pytest.mark.parametrize("sections", SECTIONS.values(), ids=SECTIONS)
def test_the_source_says_where_a_proposal_came_from(
    tmp_path: Path, sections: dict[str, Any]
) -> None:
    if isinstance(make(tmp_path, **sections).searcher, SamplerSection):
        sections = sections | {"searcher": sections["searcher"] | {"prior_share": 0.5}}
    space = make(tmp_path, **sections)
    name, samples = space.searcher.name, isinstance(space.searcher, SamplerSection)
    found = Counter(record.source for record in search(space, 7 if name == "gp" else 30))
    allowed = {"prior", "prior_sample", "random", name} if samples else {"prior", name}
    if isinstance(space.searcher, Tpe) and not space.objective.pareto:
        allowed |= {"incumbent"}
    assert set(found) == allowed
    if samples:
        assert 2 <= found["prior_sample"] <= 15  # half at first; of 30 about 7 are expected
        nothing = sections | {"searcher": sections["searcher"] | {"prior_share": 0.0}}
        few = search(make(tmp_path, **nothing), 6 if name == "gp" else 12)
        assert all(r.source != "prior_sample" for r in few)


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "nsga", "tpe for two"])
def test_what_learns_comes_near_the_optimum(tmp_path: Path, name: str) -> None:
    """The later proposals of the model are nearer to the optimum than random ones."""
    sections = SECTIONS[name]
    if name != "cmaes":
        sections = sections | {"searcher": sections["searcher"] | {"prior_share": 0.0}}
    trials = 20 if name == "gp" else 80
    space, blind = make(tmp_path, **sections), {"name": "random", "prior_share": 0.0}
    found = search(space, trials)
    guessed = search(make(tmp_path, searcher=blind), trials)
    medians = [
        sorted(distance(space, record.params) for record in records[trials // 2 :])[trials // 4]
        for records in (found, guessed)
    ]
    assert medians[0] < 0.75 * medians[1]


@pytest.mark.parametrize("sections", SECTIONS.values(), ids=SECTIONS)
def test_trials_without_a_number_crash_no_proposal(
    tmp_path: Path, sections: dict[str, Any]
) -> None:
    """Diverged before anybody had reported; ended without the metrics that are asked for."""
    space = make(tmp_path, **sections)
    searcher, prior = space.searcher.build(space), space.prior()
    source = sections["searcher"]["name"]
    records = [TrialRecord("x-0", 0, prior, "prior", state="running")]
    params = searcher.propose(1, records)[0]
    records.append(TrialRecord("x-1", 1, params, source, state="failed", diverged=True))
    assert space.active(searcher.propose(2, records)[0])
    if space.objective.pareto:
        for number, state in ((2, "finished"), (3, "stopped")):
            ended = played(space, number, prior, source)
            ended.state = state  # type: ignore[assignment]
            for report in ended.reports:
                del report["val_psnr"]
            records.append(ended)
        waits = played(space, 4, prior, source)
        waits.state, waits.paused = "pending", True
        waits.reports = [report | {"val_psnr": math.nan} for report in waits.reports]
        records.append(waits)
        for number in (5, 6):
            assert space.active(searcher.propose(number, records)[0])


def front_study(space: SearchSpace, records: list[TrialRecord]) -> optuna.Study:
    """What NSGA-II sees."""
    sampler, encoder = NSGAIISampler(), OptunaEncoder(space)
    return study_of(frozen_trials(encoder, records, sampler), sampler, encoder.directions)


def test_old_numbers_of_a_trial_that_lost_its_own_are_not_a_whole_trials(tmp_path: Path) -> None:
    """What was finite last was reported after the first of all epochs."""
    space = make(tmp_path, **SECTIONS["nsga"])
    records = search(space, 6)
    whole = next(record for record in records if record.state == "finished")
    whole.reports[0] |= {"val_bpp": 0.0, "val_psnr": 99.0}
    for report in whole.reports[1:]:
        report["val_psnr"] = math.nan
    study = front_study(space, records)
    assert study.trials[whole.number].constraints["epochs"] > 0.5
    assert whole.number not in [trial.number for trial in study.best_trials]


def test_a_stopped_trial_is_worse_than_a_whole_one_in_a_front(tmp_path: Path) -> None:
    """Its early values may look as if nothing beat them: few bits of a bad image."""
    space = make(tmp_path, **SECTIONS["nsga"])
    records = search(space, 12)
    records[5].reports[-1]["val_bpp"] = 0.0
    study = front_study(space, records)
    assert records[5].state == "stopped"
    assert [t.constraints["epochs"] for t in study.trials[3:6]] == [0, 0, pytest.approx(2 / 3)]
    assert 5 not in [trial.number for trial in study.best_trials]


@pytest.mark.parametrize("name", ["tpe", "cmaes", "nsga", "gp"])
def test_constraints_keep_the_proposals_away(tmp_path: Path, name: str) -> None:
    """Without the bound the clip of the best bpp is far above it."""
    bound = {"constraints": {"val_bpp": {"max": 0.8}, "val_psnr": {"min": 20.0}}}
    sections = dict(SECTIONS[name])
    sections["objective"] = sections.get("objective", {}) | bound
    space = make(tmp_path, **sections)
    records = search(space, 10 if name == "gp" else 60)
    frozen = OptunaEncoder(space).frozen(records[1], None)
    bpp = records[1].last["val_bpp"]
    assert frozen.constraints["val_bpp max"] == pytest.approx((bpp - 0.8) / 0.8)
    assert frozen.constraints["val_psnr min"] < 0
    kept = [record.last["val_bpp"] <= 0.8 for record in records]
    half = len(kept) // 2
    assert sum(kept[half:]) > sum(kept[:half])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "cmaes and a choice": (
        {"parameters": NUMBERS | CHOICES, "searcher": {"name": "cmaes"}},
        "parameters.optimizer.name: a choice, but cmaes searches numbers only",
    ),
    "cmaes and a zero": (
        {
            "parameters": NUMBERS
            | {"regularizers.inter_scale.delta": FLOAT | {"zero": 0.5, "prior": 0.0}},
            "searcher": {"name": "cmaes"},
        },
        "parameters.regularizers.inter_scale.delta: zero at times, but cmaes",
    ),
    "cmaes and one number": (
        {"parameters": {"optimizer.lr": FLOAT}, "searcher": {"name": "cmaes"}},
        "searcher.name: cmaes, which needs two numbers or more",
    ),
    "a front for one": (
        {"objective": {"pareto": FRONT}, "searcher": {"name": "gp"}},
        "but gp follows objective.metric alone; use nsga or tpe",
    ),
    "nsga without a front": (
        {"searcher": {"name": "nsga"}},
        "searcher.name: nsga, which needs two metrics; give them as objective.pareto",
    ),
    "too many for gp": (
        {"searcher": {"name": "gp"}, "budget": {"trials": 5_000}},
        "searcher.name: gp, but budget.trials is 5000",
    ),
    "one metric twice": (
        {"objective": {"pareto": ["val_bpp", "val_bpp"]}},
        r"objective.pareto: \['val_bpp', 'val_bpp'\]; must be two different metrics",
    ),
    "no bound": (
        {"objective": {"constraints": {"val_bpp": {}}}},
        "objective.constraints.val_bpp: no bound is given",
    ),
    "a knob of another": (
        {"searcher": {"name": "grid", "prior_share": 0.5}},
        "searcher.prior_share: unknown",
    ),
    "a share above one": (
        {"searcher": {"prior_share": 1.5}},
        "searcher.prior_share: 1.5; must be 0 to 1",
    ),
}


@pytest.mark.parametrize(("sections", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_searcher_would_ignore_is_refused(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    def change(data: dict[str, Any]) -> None:
        data.update({"base": {}, "parameters": NUMBERS} | sections)

    with pytest.raises(ConfigError, match=message):
        load_space(write(tmp_path, change))


def test_cmaes_refuses_conditions(space_file: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"balancer.gamma: conditional, but cmaes needs every"):
        load_space(space_file(put("searcher", {"name": "cmaes"})))


def test_what_gp_does_with_conditions_and_rungs_is_said(space_file: Callable[..., Path]) -> None:
    rungs, conditions = load_space(space_file(put("searcher", {"name": "gp"}))).warnings[-2:]
    assert "learns from trials at epoch 18 only, and scheduler promote stops most before" in rungs
    assert "draws conditional parameters at random: balancer.gamma, " in conditions


@pytest.mark.parametrize("name", ["tpe", "gp", "nsga", "random"])
def test_conditional_spaces_get_whole_configs(tmp_path: Path, name: str) -> None:
    def change(data: dict[str, Any]) -> None:
        data["searcher"] = SECTIONS[name]["searcher"]
        data["objective"] = SECTIONS[name].get("objective", {})

    space = load_space(write(tmp_path, change))
    searcher = space.searcher.build(space)
    records = [TrialRecord("x-0", 0, space.prior(), "prior")]
    for number in range(1, 16):
        last = records[-1]
        last.reports, last.state = [{"epoch": 18.0, "val_rd_cost": 1.0}], "finished"
        last.reports[0] |= {"val_bpp": number / 9, "val_psnr": 30.0 - number % 4}
        params, source = searcher.propose(number, records)
        assert space.active(params) == params
        records.append(TrialRecord(f"x-{number}", number, params, source))
    assert {r.params["balancer.name"] for r in records} >= {"sum", "famo_per_scale"}
    assert set(SPACE["parameters"]) >= {"balancer.name"}
