from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hpcm import EpochReport, TrainConfig
from hpcm.schema import set_path
from tests.tuning.searches import make_space, write_space
from tuning.spaces.loading import load_space
from tuning.spaces.wording import hours_text, value_text
from tuning.watching.cost import Cost, can_measure, estimate, seconds_of_an_epoch
from tuning.watching.dry_run import prior_lines, sample_lines, size_lines


def test_size_counts_parameters_rungs_trials_and_cost(tmp_path: Path) -> None:
    space = make_space(tmp_path)
    lines = size_lines(space, estimate(space, seconds_per_epoch=60.0))
    assert [" ".join(line.split()) for line in lines] == [
        "space quick: 4 parameters, 1 of them conditional",
        "rungs 1, 3, 9 epochs; schedules end at 9",
        "trials 4, 2 at a time, 1 CPU each; trial 0 is the prior config",
        "cost 20 epochs with early stopping, as many as 2.2 trials to the end; 36 at most",
        "0.3 CPU-hours likely, 0.6 CPU-hours at most, from 60.0 s an epoch measured here, alone",
    ]


def test_cost_follows_the_rungs_and_the_budget(tmp_path: Path) -> None:
    overrides = ["budget.trials=9", "budget.hours=2", "resources.gpu=0.5"]
    space = load_space(write_space(tmp_path), "cluster", overrides)
    assert estimate(space, None) == Cost(
        likely_epochs=9 + 4 * 2 + 2 * 6,  # after rung 1 the prior and a third of the others go on
        most_epochs=81,
        full_epochs=9,
        unit="GPU",
        per_hour=0.5,
        seconds_per_epoch=None,
        limit_clock=2.0,
        limit_hours=2 * 2 * 0.5,  # hours, trials at a time, GPUs each
    )
    assert estimate(space, None).lines()[-1] == (
        "budget.hours ends it after 2 h by the clock, 2.0 GPU-hours at most"
    )


def test_what_confirming_costs_is_said_apart(tmp_path: Path) -> None:
    overrides = ["confirm.top=2", "confirm.seeds=[4,5]"]
    space = load_space(write_space(tmp_path), "cluster", overrides)
    lines = size_lines(space, estimate(space, None))
    text = [" ".join(line.split()) for line in lines]
    assert text[3:6] == [
        "confirm 6 runs: the best 2 and the prior again, on seeds 4, 5",
        "54 of the epochs below; --set confirm.top=0 leaves them out",
        "cost 74 epochs with early stopping, as many as 8.2 trials to the end; 90 at most",
    ]


def test_without_stopping_every_trial_costs_the_maximum(tmp_path: Path) -> None:
    space = load_space(write_space(tmp_path), "laptop", ["scheduler.name=fifo"])
    cost = estimate(space, None)
    assert cost.likely_epochs == cost.most_epochs == 36
    assert cost.lines() == ["36 epochs, as many as 4.0 trials to the end"]


def test_both_costs_have_one_unit() -> None:
    cost = Cost(
        likely_epochs=20,
        most_epochs=200,
        full_epochs=10,
        unit="CPU",
        per_hour=1,
        seconds_per_epoch=9.0,
        limit_clock=None,
        limit_hours=None,
    )
    assert "0.1 CPU-hours likely, 0.5 CPU-hours at most" in cost.lines()[1]
    assert hours_text(0.05, "CPU") == "3.0 CPU-minutes"


def test_only_the_device_that_trials_use_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert can_measure(make_space(tmp_path, "laptop"))
    assert not can_measure(load_space(write_space(tmp_path), "laptop", ["resources.cpu=1024"]))
    assert not can_measure(make_space(tmp_path, "cluster"))


def test_an_epoch_is_measured_by_three_steps_and_a_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def train(config: TrainConfig, device: str) -> Iterator[EpochReport]:
        calls.append((config, device))
        for epoch, seconds in enumerate((9.0, 2.0, 3.0), start=1):
            yield EpochReport(epoch, {"train/seconds": seconds}, lambda directory: None)

    monkeypatch.setattr("hpcm.train", train)
    space = make_space(tmp_path)  # 8 crops an epoch in batches of 4
    assert seconds_of_an_epoch(space) == 2 * 2.0 + 1.0
    ((config, device),) = calls
    assert (config.epochs, config.validate_every, device) == (3, 3, "cpu")
    assert config.data.crops_per_epoch == config.data.batch_size == 4
    assert config.precision.threads == 1


def test_the_prior_is_shown_as_what_differs_from_the_defaults(tmp_path: Path) -> None:
    space = make_space(tmp_path)
    *rows, rest = [line.split(maxsplit=1) for line in prior_lines(space)]
    shown = TrainConfig().to_plain()
    for path, value in rows:
        set_path(shown, path, yaml.safe_load(value))
    assert TrainConfig.from_plain(shown, "shown") == space.config(space.prior())
    assert " ".join(rest).split() == ["every", "other", "field", "its", "default"]


def test_five_samples_stand_beside_the_prior(tmp_path: Path) -> None:
    space = make_space(tmp_path)
    head, *rows = [line.split("  ") for line in sample_lines(space)]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [cell.strip() for cell in head if cell.strip()] == [
        "prior",
        *(f"sample {i}" for i in range(1, 6)),
    ]
    assert [row[0] for row in cells] == list(space.parameters)
    assert [row[1] for row in cells] == ["adam", "0.0001", "sum", "-"]
    assert {len(row) for row in cells} == {7}
    for balancer, gamma in zip(cells[2][1:], cells[3][1:], strict=True):
        assert (gamma == "-") == (balancer == "sum")
    assert sample_lines(space) == sample_lines(space)


def test_what_is_absent_is_shown_as_yaml_has_it() -> None:
    values = (None, True, 0.12345, {"name": "linear", "final": 0.12345})
    assert [value_text(value) for value in values] == [
        "null",
        "yes",
        "0.123",
        "{name: linear, final: 0.123}",
    ]


def test_the_cost_knows_that_pilots_go_to_the_end(tmp_path: Path) -> None:
    """As many as run at a time, at least three; a third of the others passes each rung."""
    for at_a_time, whole in ((1, 3), (5, 5)):
        overrides = ["scheduler.pilots=3", "budget.trials=9", f"budget.concurrent={at_a_time}"]
        space = load_space(write_space(tmp_path), "cluster", overrides)
        rest = 9 - whole
        expected = whole * 9 + rest + math.ceil(rest / 3) * 2 + math.ceil(rest / 9) * 6
        assert estimate(space, None).likely_epochs == expected
