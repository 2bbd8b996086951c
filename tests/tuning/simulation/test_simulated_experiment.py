"""`tune.py --simulate`: a folder, status and page as of a search, marked wherever one looks."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
import yaml

from hpcm import ConfigError, TrainConfig
from tuning.__main__ import main as look
from tuning.cli import main
from tuning.ledger.folders import read_experiment
from tuning.on_ray.experiment import run_experiment
from tuning.page.data import experiment_data
from tuning.page.live_ledger import LiveLedger
from tuning.results.tables import read_result
from tuning.search.warm_start import gather
from tuning.spaces.loading import load_space

SMALL = ["fidelity.min=1", "fidelity.max=9", "budget.trials=8", "confirm.top=0"]
MARK = "SIMULATED on family:good: no trial was trained"


@pytest.fixture
def simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of a simulated experiment."""
    words = ["--space", "phase3", "--simulate", "family:good", "--slots", "4"]
    assert main([*words, "--storage", str(tmp_path / "all"), "--set", *SMALL]) == 0
    (folder,) = (tmp_path / "all").iterdir()
    assert not ray.is_initialized()
    return folder


def test_it_is_marked_wherever_one_looks(
    simulated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = capsys.readouterr().out
    assert MARK in printed
    assert "of 4 slots, which trained for" in printed
    assert "tensorboard" not in printed  # there is nothing to see
    assert "the best on the curves of a simulation, which trained nothing" in printed
    assert "the same numbers" not in printed  # no run gives those of a curve
    assert look(["status", "last", "--storage", str(simulated.parent)]) == 0
    assert MARK in capsys.readouterr().out
    data = experiment_data(LiveLedger(simulated), read_experiment(simulated))
    assert (data["simulated"], data["state"]) == ("family:good", "complete")
    assert len(data["trials"]) == 8
    exported = (simulated / "best.yaml").read_text()
    assert exported.startswith(f"# {MARK}")
    assert isinstance(TrainConfig.from_plain(yaml.safe_load(exported), "best"), TrainConfig)
    result = read_result("last", str(simulated.parent))
    assert result.info.simulated == "family:good"
    assert result.best is not None


def test_its_export_replaces_nothing_that_a_search_found(simulated: Path) -> None:
    shipped = Path(__file__).parents[3] / "search_spaces" / "best"
    assert not shipped.exists() or all("SIMULATED" not in p.read_text() for p in shipped.iterdir())


def test_no_real_trial_joins_it_and_no_search_learns_from_it(simulated: Path) -> None:
    space = read_experiment(simulated)
    with pytest.raises(ConfigError, match=f"--resume {simulated.name}: it was simulated"):
        run_experiment(space, storage=str(simulated.parent), resume=simulated.name)
    overrides = [*SMALL, f"searcher.warm_start=[{simulated.name}]"]
    with pytest.raises(ConfigError, match=rf"warm_start: {simulated.name}: it was simulated"):
        gather(load_space("phase3", overrides=overrides), simulated.parent, simulated.parent / "x")


def test_an_experiment_is_a_source_for_another(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--space", "phase3", "--simulate", str(simulated), "--slots", "2"]
    assert main([*words, "--storage", str(tmp_path / "again"), "--set", *SMALL]) == 0
    assert "took the curve of the nearest of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--simulate", "family:goof"], "no such family. Did you mean 'good'"),
        (["--simulate", ""], "--simulate: empty"),
        (["--simulate", "family:good", "--slots", "0"], "--slots 0: must be 1 or more"),
        (["--simulate", "family:good", "--slots", "x"], "--slots: invalid int value"),
        (["--simulate", "family:good", "--set", "budget.concurrent=null"], "--slots: missing"),
        (["--simulate", "family:good", "--address", "h:1"], "--address: not with --simulate"),
        (["--simulate", "family:good", "--checkpoints", "c"], "--checkpoints: not with"),
        (["--simulate", "family:good", "--resume", "last"], "--resume: not with --simulate"),
        (["--simulate", "family:good", "--dry-run"], "--dry-run: not with --simulate"),
        (["--slots", "3"], "--slots: only with --simulate"),
        (["--simulate", "curves:gone.npz"], "not a file of curves"),
    ],
)
def test_bad_input_is_one_message_and_creates_nothing(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "none"
    assert main(["--space", "phase3", "--storage", str(storage), *words]) == 2
    assert message in capsys.readouterr().err
    assert not storage.exists()
