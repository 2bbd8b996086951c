from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from hpcm.config import TrainConfig
from hpcm.schema import ConfigError, overlay
from hpcm.yaml_files import override
from tests.tuning.searches import make_result, make_space
from tuning.ledger.folders import write_experiment
from tuning.ledger.provenance import git_commit
from tuning.results.export import best_config, export_best, source_of
from tuning.results.exported import exported_commands
from tuning.results.outcome import ExperimentResult
from tuning.results.train_commands import differences, full_command, repeat_command
from tuning.spaces.loading import load_space
from tuning.watching.summary import export_lines, summary_lines


def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str) -> ExperimentResult:
    """A result whose export knows the commit and the images without looking at either."""
    monkeypatch.setattr("tuning.results.export.git_commit", lambda: "0123abc")
    monkeypatch.setattr(
        "tuning.results.export.data_facts", lambda config: [("trained on", "2 images")]
    )
    monkeypatch.chdir(tmp_path)
    result = make_result(make_space(tmp_path, profile), tmp_path)
    write_experiment(
        result.info.directory,
        result.info.space,
        profile_reason="because",
        overrides=["budget.trials=4"],
    )
    return result


def set_on(config: TrainConfig, words: list[str]) -> TrainConfig:
    """The config after ``--set``, read as `python -m hpcm train` reads it."""
    data = config.to_plain()
    for word in words:
        data = overlay(data, override(word))
    return TrainConfig.from_plain(data, "--set")


def test_a_proxy_repeats_its_trial_and_retargets_to_the_full_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = exported(tmp_path, monkeypatch, "laptop")
    export = export_best(result)
    assert export.copied == tmp_path / "best" / "quick.laptop.yaml"
    assert export.stored.read_text() == export.copied.read_text()
    assert result.best is not None
    read = TrainConfig.from_yaml(export.copied)
    assert read == result.info.space.config(result.best.params, epochs=9)
    assert export.repeat == "python -m hpcm train best/quick.laptop.yaml"
    words = shlex.split(export.full)
    assert words[:6] == ["python", "-m", "hpcm", "train", "best/quick.laptop.yaml", "--set"]
    target = set_on(read, words[6:])
    full = make_space(tmp_path, "cluster")
    assert target == full.config(result.best.params, epochs=3000)


def test_an_override_goes_into_the_full_run_unless_it_is_about_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = exported(tmp_path, monkeypatch, "laptop")
    given = ["base.loss.lmbda=0.05", "base.data.crops_per_epoch=4", "fidelity.max=3"]
    space = load_space(tmp_path / "quick.yaml", "laptop", given)
    write_experiment(result.info.directory, space, profile_reason="because", overrides=given)
    export = export_best(replace(result, info=replace(result.info, space=space)))
    target = set_on(export.config, shlex.split(export.full)[6:])
    assert (export.config.loss.lmbda, export.config.data.crops_per_epoch) == (0.05, 4)
    assert (target.loss.lmbda, target.data.crops_per_epoch) == (0.05, None)
    assert (target.epochs, target.schedule_horizon) == (3000, 3000)


def test_a_seed_that_the_full_search_would_confirm_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = exported(tmp_path, monkeypatch, "laptop")
    file = tmp_path / "quick.yaml"
    file.write_text(f"{file.read_text()}confirm: {{top: 2, seeds: [1, 2]}}\n")
    given = ["base.seed=1", "confirm.top=0"]
    space = load_space(file, "laptop", given)
    write_experiment(result.info.directory, space, profile_reason="because", overrides=given)
    export = export_best(replace(result, info=replace(result.info, space=space)))
    assert set_on(export.config, shlex.split(export.full)[6:]).seed == 1


def test_the_header_has_the_standard_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = exported(tmp_path, monkeypatch, "laptop")
    assert result.best is not None
    assert "±" not in export_best(result).copied.read_text()
    error = {"val_rd_cost_se": 0.0625, "val_psnr_se": 0.125}
    best = replace(result.best, reports=[r | error for r in result.best.reports])
    text = export_best(replace(result, best=best)).copied.read_text()
    assert "1.3111 ± 0.0625" in text and "28.69 dB ± 0.12" in text  # noqa: PT018


def test_a_space_that_moved_is_found_if_it_is_shipped(tmp_path: Path) -> None:
    space = load_space("phase1", "laptop")
    assert source_of(replace(space, path="/gone/phase1.yaml")) == space.path
    with pytest.raises(ConfigError, match=r"/gone/mine.yaml: .* is gone"):
        source_of(replace(space, name="mine", path="/gone/mine.yaml"))


def test_a_proxy_of_a_trial_that_was_cut_repeats_what_it_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = exported(tmp_path, monkeypatch, "laptop")
    cut = replace(result, best=result.trials[2])
    export = export_best(cut)
    assert TrainConfig.from_yaml(export.copied).epochs == 3
    assert TrainConfig.from_yaml(export.copied).schedule_horizon == 9


def test_on_a_cluster_the_export_is_the_full_run_and_the_trial_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = exported(tmp_path, monkeypatch, "cluster")
    export = export_best(result)
    read = TrainConfig.from_yaml(export.copied)
    assert export.copied.name == "quick.yaml"
    assert (read.epochs, read.schedule_horizon) == (3000, 3000)
    assert export.repeat == "python -m hpcm train best/quick.yaml --epochs 9"
    assert export.full == "python -m hpcm train best/quick.yaml"
    assert best_config(result) == read


def test_a_proxy_never_overwrites_a_clusters_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cluster = export_best(exported(tmp_path, monkeypatch, "cluster"))
    before = on_cluster.copied.read_text()
    export_best(exported(tmp_path, monkeypatch, "laptop"))
    assert on_cluster.copied.read_text() == before


def test_the_header_says_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = export_best(exported(tmp_path, monkeypatch, "laptop"))
    lines = export.copied.read_text().splitlines()
    header = [line.removeprefix("# ") for line in lines if line.startswith("#")]
    facts = {line[:15].strip(): line[15:].strip() for line in header}
    assert header[0].startswith("PROXY: found under the profile laptop")
    assert facts["experiment"] == "quick-x"
    assert facts["trial"] == "1, the best of 4 trials"
    assert facts["profile"] == "laptop (because)"
    assert facts["overrides"] == "budget.trials=4"
    assert facts["git commit"] == "0123abc"
    assert facts["config digest"] == export.config.digest
    assert facts["trained on"] == "2 images"
    assert facts["versions"].startswith("Python 3.")
    rows = [" ".join(line.split()) for line in header]
    assert "at epoch 9 prior best: trial 1 difference" in rows
    assert "rd_cost 1.6111 1.3111 -0.3000 (-18.62 %)" in rows
    assert [line.rstrip("#") for line in header[-len(export.command_lines()) :]] == (
        export.command_lines()
    )
    assert exported_commands(export.stored.parent) == export.command_lines()
    assert "search" not in facts


def test_the_header_says_that_a_search_was_not_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = replace(exported(tmp_path, monkeypatch, "laptop"), complete=False, interrupted=True)
    result.trials[2].state = "running"
    rows = export_best(result).copied.read_text().splitlines()
    found = next(row for row in rows if row.startswith("# search "))
    assert found.endswith("not complete: 3 of 4 trials had ended")


def test_nothing_to_export_is_an_error(tmp_path: Path) -> None:
    result = replace(make_result(make_space(tmp_path), tmp_path), best=None)
    with pytest.raises(ValueError, match="quick-x: no trial has a result"):
        export_best(result)


def test_git_commit_is_that_of_the_code() -> None:
    commit = git_commit()
    assert commit == "unknown" or len(commit.split()[0]) == 40


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a.c": 3}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({}, {"a": [1, 2]}, {"a": [1, 2]}),
        ({"a": {"name": "x", "p": 1}}, {"a": {"name": "y", "q": 2}}, {"a.name": "y", "a.q": 2}),
    ],
)
def test_differences(one: dict, other: dict, expected: dict) -> None:
    assert differences(one, other) == expected


def test_commands_quote_what_a_shell_would_split() -> None:
    config = TrainConfig()
    file = Path("my best/a.yaml")
    assert repeat_command(file, config, 3000) == "python -m hpcm train 'my best/a.yaml'"
    target = replace(config, data=replace(config.data, crops_per_epoch=64), epochs=7)
    words = shlex.split(full_command(file, config, target))
    assert words[4:] == ["my best/a.yaml", "--set", "data.crops_per_epoch=64", "epochs=7"]
    assert set_on(config, words[6:]) == target


def test_the_summary_sets_the_best_beside_the_prior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = exported(tmp_path, monkeypatch, "laptop")
    export = export_best(result)
    text = "\n".join(summary_lines(result, export))
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert rows[:2] == [
        "search quick-x: complete",
        "4 trials: 2 finished, 1 stopped early, 1 failed",
    ]
    assert "trial 3 failed: diverged: the loss is not finite" in rows
    assert "rd_cost 1.6111 1.3111 -0.3000 (-18.62 %)" in rows
    assert "PSNR 28.39 dB 28.69 dB +0.30 dB" in rows
    assert "balancer.gamma - 0.001" in rows
    saved = "stopping early saved 2.3 CPU-minutes (39 % of full training)"
    assert f"spent 3.7 CPU-minutes: 4 trials; {saved}" in rows
    assert export.repeat in rows
    assert export.full in rows


def test_a_prior_that_stays_the_best_is_said_so(tmp_path: Path) -> None:
    result = make_result(make_space(tmp_path), tmp_path)
    lines = summary_lines(replace(result, best=result.trials[0]), None)
    assert (
        "the prior config is the best one, at epoch 9: rd_cost 1.6111, bpp 0.8056, PSNR 28.39 dB"
        in lines
    )


def test_an_interrupted_search_says_how_to_go_on(tmp_path: Path) -> None:
    result = make_result(make_space(tmp_path), tmp_path)
    text = "\n".join(summary_lines(replace(result, complete=False, interrupted=True), None))
    assert text.startswith(
        "search quick-x: interrupted; continue with python tune.py --resume quick-x"
    )
    assert "exported" not in text


def test_where_best_cannot_be_written_the_experiment_has_the_only_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = exported(tmp_path, monkeypatch, "cluster")
    (tmp_path / "best").write_text("a file, where a folder should be")
    export = export_best(result)
    assert export.copied == export.stored == result.info.directory / "best.yaml"
    assert TrainConfig.from_yaml(export.stored) == export.config
    assert export.repeat.startswith(f"python -m hpcm train {export.shown}")
    told = next(line for line in summary_lines(result, export) if line.startswith("exported to"))
    assert f"{export.shown}  ({tmp_path / 'best' / 'quick.yaml'} cannot be written: " in told


def test_a_submitted_job_says_how_its_export_comes_to_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its working directory is on the cluster and is removed with the job."""
    export = replace(export_best(exported(tmp_path, monkeypatch, "cluster")), submitted=True)
    lines = export_lines(export)
    assert f"  ray rsync-down CLUSTER.yaml {export.stored} best/quick.yaml" in lines
    assert lines.count(lines[1]) == 1
    elsewhere = export_lines(replace(export, shown=export.stored))
    assert f"  ray rsync-down CLUSTER.yaml {export.stored} best/best.yaml" in elsewhere
    assert not any("rsync" in line for line in export_lines(replace(export, submitted=False)))


def test_what_is_printed_to_be_run_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    result = exported(folder, monkeypatch, "cluster")
    where = result.info.storage
    shown = summary_lines(replace(result, complete=False, interrupted=True), None)
    assert any(line.endswith(f"--storage '{where}'") for line in shown)
    words = [shlex.split(line) for line in shown]
    for program in ("tensorboard", "optuna-dashboard", "tuning"):
        line = next(found for found in words if program in found)
        assert any(word.startswith(str(where)) for word in line)
