"""``python -m hpcm schedule``: the table is what the loop would set, and the picture is written."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpcm import ConfigError, TrainConfig
from hpcm.__main__ import main
from hpcm.commands.schedule import plot, schedule_table
from hpcm.optimizers import BALANCERS, Adam
from hpcm.optimizers.gamma_schedules import GAMMA_SCHEDULES, SCALE_GAMMA_SCHEDULES
from hpcm.schedules import LrSchedule


def config(**sections: Any) -> TrainConfig:
    return TrainConfig.from_plain({"schedule_horizon": 3000, **sections}, "test")


def test_table_of_the_published_recipe() -> None:
    cfg = config(optimizer={"lr": 5e-5}, balancer={"name": "famo_per_scale"})
    table = schedule_table(cfg, 31)
    assert list(table) == ["epoch", "t", "lr", "gamma/s1", "gamma/s2", "gamma/s3"]
    assert table["epoch"] == [*(100 * row for row in range(30)), 2999]  # 3000 never trains
    at = {epoch: row for row, epoch in enumerate(table["epoch"])}
    rates = [table["lr"][at[epoch]] for epoch in (0, 2700, 2800, 2900, 2999)]
    assert rates == pytest.approx([5e-5, 5e-5, 1.5e-5, 5e-6, 5e-7])
    assert table["gamma/s1"][at[300]] == pytest.approx(0.008 * 1.2)
    assert table["gamma/s3"][at[2999]] == pytest.approx(0.004 * 1.2996)


def test_rates_of_parts_and_the_band_show_where_they_say_something() -> None:
    plain = schedule_table(config(), 3)
    assert list(plain) == ["epoch", "t", "lr"]
    cfg = config(
        optimizer={"lr": 1e-5},
        lr_schedule={"name": "constant"},
        parts={"context": {"mult": 0.1}, "freeze": "progressive"},
        regularizers={"dct_truncation": {"tau_init": 0.5, "end": 0.5}},
    )
    table = schedule_table(cfg, 5)
    assert {"lr/context", "lr/h_a", "spectral/tau"} < set(table)
    assert "lr/g_a" not in table
    assert table["lr/context"] == pytest.approx([0, 0, 1e-6, 1e-6, 1e-6])
    assert table["spectral/tau"][0] == 0.5
    assert table["spectral/tau"][-1] == 2**0.5


@pytest.mark.filterwarnings("ignore:balancer learned_shares degenerates")
@pytest.mark.parametrize("name", BALANCERS)
def test_every_balancer_has_a_table_of_its_gammas(name: str) -> None:
    table = schedule_table(config(balancer={"name": name}), 5)
    gammas = [column.partition("/")[2] for column in table if column.startswith("gamma/")]
    expected = {"famo": ["gamma"], "famo_per_scale": ["s1", "s2", "s3"]}
    assert gammas == expected.get(name, [])


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize(
    ("balancer", "schedule"),
    [
        *(("famo", name) for name in GAMMA_SCHEDULES),
        *(("famo_per_scale", name) for name in SCALE_GAMMA_SCHEDULES),
    ],
)
def test_every_gamma_schedule_is_what_the_balancer_would_use(
    balancer: str, schedule: str, published: bool
) -> None:
    tasks = {"tasks": "published5"} if published and balancer == "famo_per_scale" else {}
    cfg = config(
        schedule_horizon=60,
        balancer={
            "name": balancer,
            "published": published,
            "gamma_schedule": {"name": schedule},
            **tasks,
        },
    )
    table = schedule_table(cfg, 61)
    for epoch in (0, 3, 20, 45, 59):
        built = cfg.balancer.build(cfg.tasks, "cpu")
        built.apply(cfg.balancer, epoch / 60, epoch)
        gammas = [values[epoch] for name, values in table.items() if name.startswith("gamma/")]
        assert tuple(gammas) == built.gammas_in_use


def test_a_part_that_warms_up_starts_above_zero() -> None:
    cfg = config(schedule_horizon=10, parts={"g_a": {"warmup": 0.5, "mult": 2.0}})
    cfg = replace(cfg, lr_schedule=LrSchedule(name="constant"), optimizer=Adam(lr=1e-3))
    rates = [4e-4, 8e-4, 1.2e-3, 1.6e-3, 2e-3, 2e-3]
    assert schedule_table(cfg, 11)["lr/g_a"][:6] == pytest.approx(rates)


def test_the_term_counts_from_its_start_on() -> None:
    term = {"delta": 0.05, "start": 0.5}
    table = schedule_table(config(regularizers={"inter_scale": term}), 5)
    assert table["spectral/delta"] == [0, 0, 0.05, 0.05, 0.05]


def test_a_short_horizon_has_a_row_per_epoch_at_most() -> None:
    assert schedule_table(config(schedule_horizon=4), 21)["epoch"] == [0, 1, 2, 3]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, picture = tmp_path / "run.yaml", tmp_path / "run.svg"
    path.write_text(yaml.safe_dump({"balancer": {"name": "famo"}, "schedule_horizon": 60}))
    setting = "balancer.gamma_schedule.name=adaptive"
    assert (
        main(["schedule", str(path), "--set", setting, "--rows", "3", "--plot", str(picture)]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["epoch", "t", "lr", "gamma/gamma"]
    assert lines[1].split() == ["0", "0", "0.0001", "0.003"]
    assert len(lines) == 6
    assert "follow the losses" in lines[4]
    assert "<svg" in picture.read_text()


def test_plot_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = schedule_table(config(), 3)
    with pytest.raises(ConfigError, match="--plot .*: cannot be written"):
        plot(table, tmp_path / "no_folder" / "x.png", "x")
    with pytest.raises(ConfigError, match="--plot .*: cannot be written"):
        plot(table, tmp_path / "x.unknown", "x")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="--plot needs the package matplotlib"):
        plot(table, tmp_path / "x.png", "x")


def test_a_search_space_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: {}\nparameters: {seed: {type: int, low: 0, high: 9}}\n")
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_yaml(path)
    assert str(caught.value).startswith(f"{path}: a search space, not a run config; python tune.py")
