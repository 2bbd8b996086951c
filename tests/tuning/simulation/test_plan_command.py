"""`python -m tuning plan`: its flags, the time of an epoch, the file that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpcm import ConfigError
from tests.tuning.simulation.test_plan import space_of
from tuning import load_space
from tuning.__main__ import main
from tuning.simulation.epoch_time import epoch_time
from tuning.spaces.space import SearchSpace

# --- the time of an epoch ------------------------------------------------------------------------


def written(folder: Path, record: Any) -> str:
    path = folder / "bench.json"
    path.write_text(json.dumps(record))
    return str(path)


OPTIONS = {"model": "hpcm_tiny", "batch": 32}


@pytest.mark.parametrize(
    "times",
    [{"ours": {"step": {"wall": 0.5}}}, {"seconds_per_step": {"plain": [0.4, 0.5, 9.0], "x": [1]}}],
)
def test_an_epoch_by_a_benchmark(tmp_path: Path, times: dict[str, Any]) -> None:
    base = {"data": {"train": "sample", "val": "sample_val", "crops_per_epoch": 320}}
    space = space_of(tmp_path, base=base)
    bench = written(tmp_path, {"options": OPTIONS} | times)
    seconds, whence = epoch_time(space, None, bench)
    assert seconds == pytest.approx(10 * 0.5)
    assert whence == f"a step as in {bench}"
    assert epoch_time(space, 7.0, None) == (7.0, "given")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"options": {"model": "hpcm_base", "batch": 16}, "ours": {"step": {"wall": 1}}},
         "of hpcm_base, batch 16; rates trains hpcm_tiny, batch 32"),
        ({"options": OPTIONS}, "not what python -m benchmarks train_step writes"),
        ([1], "not what python -m benchmarks train_step writes"),
    ],
)  # fmt: skip
def test_another_benchmark_is_refused(tmp_path: Path, record: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        epoch_time(space_of(tmp_path), None, written(tmp_path, record))


def test_without_a_device_an_epoch_must_be_told(tmp_path: Path) -> None:
    space = space_of(tmp_path, resources={"gpu": 0, "cpu": 1024})
    with pytest.raises(ConfigError, match=r"how long is an epoch\?.* give --epoch-seconds"):
        epoch_time(space, None, None)


# --- the command ---------------------------------------------------------------------------------


def plan(*words: object) -> int:
    return main(["plan", *map(str, words)])


def flags(space: SearchSpace, **changed: object) -> list[object]:
    given: dict[str, object] = {
        "cpu-hours": 1.5, "cpus": 2, "epoch-seconds": 60, "simulate": "family:good", "seeds": 1,
    } | {name.replace("_", "-"): value for name, value in changed.items()}  # fmt: skip
    words = [(f"--{name}", value) for name, value in given.items() if value is not None]
    return [space.path, *(word for pair in words for word in pair)]


def test_the_command_prints_plans_and_writes_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space, file = space_of(tmp_path), tmp_path / "planned.yaml"
    assert plan(*flags(space, write=file)) == 0
    printed = capsys.readouterr().out
    assert "rates, profile cluster: " in printed
    heads = next(line for line in printed.splitlines() if "worse than the best" in line)
    assert heads.split()[-4:] == ["CPU-hours", "wall-clock", "CPUs", "used"]
    assert "best plan: " in printed
    assert "  python tune.py --space " in printed
    made = load_space(file)
    number = int(printed.split("cheapest plan that comes to")[1].split("less: ")[1].split(",")[0])
    row = next(line for line in printed.splitlines() if line.startswith(f"{number} "))
    assert f"  {', '.join(map(str, made.rungs()))}  " in row
    assert f" {made.budget.trials} " in row
    assert yaml.safe_load(file.read_text())["extends"] == "./rates.yaml"
    # What the command says does the same.
    words = printed.split(" --set ")[1].splitlines()[0].split()
    assert load_space(str(space.path), "cluster", words).digest == made.digest


def test_a_plan_of_a_profile_is_written_under_it(tmp_path: Path) -> None:
    path = tmp_path / "rates.yaml"
    space_of(tmp_path)
    data = yaml.safe_load(path.read_text())
    data["profiles"] = {"small": {"budget": {"trials": 500}, "fidelity": {"max": 9}}}
    path.write_text(yaml.safe_dump(data))
    space, file = load_space(path, "small"), tmp_path / "planned.yaml"
    assert plan(*flags(space, profile="small", write=file)) == 0
    made = load_space(file, "small")
    assert made.budget.trials < 500
    assert load_space(file).budget.trials == 8  # the other profile is as it was


def test_the_command_has_the_overrides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(*flags(space_of(tmp_path), set="base.seed=7")) == 0
    printed = capsys.readouterr().out
    words = printed.split(" --set ")[1].splitlines()[0].split()
    assert words[0] == "base.seed=7"
    assert load_space(tmp_path / "rates.yaml", "cluster", words).base["seed"] == 7


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"cpu_hours": None, "gpu_hours": 1},
            "--gpu-hours: a trial of rates, profile cluster, runs",
        ),
        ({"cpus": None, "gpus": 1}, "--gpus: a trial of rates, profile cluster, runs on a CPU"),
        ({"simulate": "family:best"}, "--simulate family:best: no such family"),
        ({"cpu_hours": 0.1}, "--cpu-hours 0.1: too few for a search"),
        ({"bench": "none.json", "epoch_seconds": None}, "none.json: cannot be read"),
        (
            {"write": "planned.yaml", "set": "budget.trials=9"},
            "--write planned.yaml: not with --set budget.trials=9, which the file would not have",
        ),
        ({"write": "planned.txt"}, "--write planned.txt: a search space is a .yaml file"),
        ({"write": "nowhere/planned.yaml"}, "there is no folder nowhere"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], message: str
) -> None:
    assert plan(*flags(space_of(tmp_path), **changed)) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_written_over_and_one_level_is_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space, child = space_of(tmp_path), tmp_path / "child.yaml"
    assert plan(*flags(space, write=space.path)) == 2
    assert "there is a file; nothing is overwritten" in capsys.readouterr().err
    child.write_text("extends: ./rates.yaml\nbudget: {trials: 4}\n")
    assert plan(*flags(load_space(child), write=tmp_path / "planned.yaml")) == 2
    assert "child itself extends a space" in capsys.readouterr().err
    assert plan(*flags(space, target=1e-6, write=tmp_path / "planned.yaml")) == 2
    shown = capsys.readouterr()
    assert "no plan comes to 0.00 %" in shown.out
    assert "nothing is written" in shown.err
    assert not (tmp_path / "planned.yaml").exists()
