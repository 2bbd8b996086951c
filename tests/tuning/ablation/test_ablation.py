"""The ablation: scores of hand-made curves, its trainings with a toy, and how it goes on."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image

from hpcm import ConfigError
from tests.conftest import synthetic_image
from tests.toy_codec import ToyCodec
from tuning.__main__ import main
from tuning.ablation import command as ablation
from tuning.ablation.runs import BASELINE, EPOCHS, Plan, jobs_of, run_all, sweep_jobs
from tuning.ablation.scores import (
    RunCurve,
    best_rate,
    epoch_seconds,
    equal_steps,
    equal_wall_clock,
    rows,
)


def curve(arm: str, seed: int, scores: list[float], seconds: float = 1.0) -> RunCurve:
    metrics = {
        "val_rd_cost": tuple(scores),
        "val_bpp": tuple(score / 2 for score in scores),
        "val_psnr": tuple(30 - score for score in scores),
    }
    return RunCurve(arm, seed, "digest", (seconds,) * len(scores), metrics)


# --- scores --------------------------------------------------------------------------------------


def test_a_score_between_two_validations_is_linear() -> None:
    run = curve("a", 0, [4.0, 2.0, 1.0])
    found = [run.at("val_rd_cost", epochs) for epochs in (0.5, 1, 1.25, 2.5, 3, 3.1)]
    assert found == [None, 4.0, 3.5, 1.5, 1.0, None]


def test_at_equal_wall_clock_the_cheapest_arm_is_whole_and_others_are_cut() -> None:
    """Twice as dear an arm is read half way; the best at equal steps is not the best then."""
    plain = [curve("plain", seed, [8.0, 6.0, 4.0, 3.0], 1.0) for seed in (0, 1)]
    dear = [curve("dear", seed, [9.0, 7.0, 3.0, 1.0], 2.0) for seed in (0, 1)]
    runs = [*plain, *dear]
    assert equal_wall_clock(runs, 4) == {"plain": 4.0, "dear": 2.0}
    same_steps = rows(runs, equal_steps(runs, 4), "plain")
    assert [(row.arm, row.rank, row.mean) for row in same_steps] == [
        ("dear", 1, 1.0),
        ("plain", 2, 3.0),
    ]
    same_time = rows(runs, equal_wall_clock(runs, 4), "plain")
    assert [(row.arm, row.rank, row.mean) for row in same_time] == [
        ("plain", 1, 3.0),
        ("dear", 2, 7.0),
    ]
    assert (same_time[1].bpp, same_time[1].psnr) == (3.5, 23.0)


def test_one_slow_epoch_does_not_decide_what_an_arm_costs() -> None:
    runs = [
        RunCurve("a", 0, "d", (1.0, 50.0, 1.0), {}),
        RunCurve("a", 1, "d", (1.0, 1.0, 1.0), {}),
    ]
    assert epoch_seconds(runs) == 1.0
    assert epoch_seconds([]) is None


def test_spread_and_pairs() -> None:
    """The arm is better at every seed although the seeds themselves lie further apart."""
    base, other = [5.0, 7.0, 9.0], [4.5, 6.7, 8.4]
    runs = [curve("base", seed, [score]) for seed, score in enumerate(base)]
    runs += [curve("other", seed, [score]) for seed, score in reversed(list(enumerate(other)))]
    best, plain = rows(runs, equal_steps(runs, 1), "base")
    assert (plain.mean, plain.sd, plain.range, plain.gains) == (7.0, 2.0, (5.0, 9.0), ())
    assert best.arm == "other"
    assert best.gains == pytest.approx((-0.5, -0.3, -0.6))
    assert best.gain == pytest.approx(-1.4 / 3)
    assert best.gain_sd == pytest.approx(statistics.stdev((-0.5, -0.3, -0.6)))


def test_an_arm_with_a_diverged_run_has_no_mean_and_comes_last() -> None:
    broken = RunCurve("broken", 1, "d", (1.0,), {"val_rd_cost": (0.1,)}, "step 7: it broke")
    runs = [curve("base", 0, [2.0]), curve("base", 1, [3.0]), curve("broken", 0, [0.1]), broken]
    *_, last = rows(runs, equal_steps(runs, 1), "base")
    assert (last.arm, last.mean, last.bpp, last.scores) == ("broken", None, None, (0.1, None))
    assert last.gains == pytest.approx((-1.9,))


def test_best_rate() -> None:
    assert best_rate({1e-3: 2.0, 3e-3: 1.0, 1e-2: None}) == 3e-3
    assert best_rate({1e-2: None}) is None


def test_a_curve_survives_json() -> None:
    run = curve("a", 3, [2.0, 1.0])
    assert RunCurve.from_plain(json.loads(json.dumps(run.to_plain()))) == run


# --- what is trained -----------------------------------------------------------------------------


def test_arms_differ_in_optimizer_and_balancer_alone() -> None:
    plan = Plan(steps=20, seeds=2)
    jobs = jobs_of(plan, 2e-3, threads=None)
    assert len(jobs) == 2 * 3 * 2
    assert [job.seed for job in jobs] == [0] * 6 + [1] * 6
    first = jobs[0].config
    for job in jobs:
        same = {k: v for k, v in job.config.items() if k not in ("optimizer", "balancer", "seed")}
        assert same == {k: first[k] for k in same}
        assert job.config["optimizer"]["lr"] == 2e-3
    assert first["data"]["crops_per_epoch"] * first["epochs"] == 20 * first["data"]["batch_size"]
    assert {job.config["seed"] for job in sweep_jobs(plan, None)}.isdisjoint({0, 1})


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"steps": 15}, "--steps 15: must be a multiple of 10"),
        ({"seeds": 0}, "--seeds 0: must be 1 or more"),
        ({"lr": 0.0}, "--lr 0.0: must be above 0"),
        ({"settings": {"balancer": {"name": "famo"}}}, "--set balancer: the ablation sets it"),
        ({"settings": {"model": {"nam": "x"}}}, "model.nam: unknown key"),
    ],
)
def test_refusals(plan: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Plan(**{"steps": 20, "seeds": 1, **plan})


def test_the_digest_follows_what_decides_the_numbers() -> None:
    first = Plan(steps=20, seeds=1)
    assert first.digest == Plan(steps=20, seeds=1).digest
    others = [Plan(steps=40, seeds=1), Plan(steps=20, seeds=2), Plan(steps=20, seeds=1, lr=1e-3)]
    others.append(Plan(steps=20, seeds=1, settings={"loss": {"lmbda": 0.05}}))
    assert len({first.digest, *(plan.digest for plan in others)}) == 5


# --- the command ---------------------------------------------------------------------------------

WORDS = ["ablate", "--steps", "10", "--seeds", "2", "--output", "out", "--set"]
FEW = ["data.train=few", "data.val=few", "data.patch=64", "data.batch_size=1"]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "few").mkdir(parents=True)
    for index in range(2):
        picture = Image.fromarray(synthetic_image(64, 128, index))
        picture.save(tmp_path / "data" / "few" / f"{index}.png")
    monkeypatch.setenv("HPCM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("hpcm.training.run.build_model", lambda model: ToyCodec())
    monkeypatch.chdir(tmp_path)


def test_the_command_sweeps_trains_and_writes(
    toy: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS, *FEW]) == 0
    record = json.loads(Path("out/hpcm_tiny-10-steps.json").read_text())
    text = Path("out/hpcm_tiny-10-steps.md").read_text()
    assert text in capsys.readouterr().out
    assert record["complete"]
    assert len(record["runs"]) == 12
    assert record["lr"] == best_rate({float(k): v for k, v in record["sweep"].items()})
    facts = record["conditions"]
    assert (facts["n"], facts["steps"], len(facts["config_digest"])) == (2, 10, 12)
    for told in (facts["device"], facts["date"], facts["config_digest"], *facts["versions"]):
        assert told in text
    assert text.count(f"| {BASELINE} |") == 3
    assert all(len(run["seconds"]) == EPOCHS for run in record["runs"])


def test_arms_start_from_the_same_weights_and_crops(toy: None) -> None:
    """With next to no learning rate, every arm of a seed scores the same, and other seeds not."""
    plan = Plan(steps=10, seeds=2, settings=_few())
    ends = {(r.arm, r.seed): r.at("val_rd_cost", EPOCHS) for r in _toy_runs(plan)}
    of_seed = [{score for (_, seed), score in ends.items() if seed == s} for s in (0, 1)]
    assert [len(scores) for scores in of_seed] == [1, 1]
    assert of_seed[0] != of_seed[1]


def test_an_interrupted_ablation_goes_on_and_a_finished_one_is_kept(
    toy: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, *FEW, "--lr", "0.001"]
    trained: list[str] = []

    def broken_after_three(jobs: list, processes: int) -> Iterator[RunCurve]:
        for job in jobs:
            if len(trained) == 3:
                raise KeyboardInterrupt
            trained.append(job.arm)
            yield from run_all([job], processes)

    monkeypatch.setattr(ablation, "run_all", broken_after_three)
    with pytest.raises(KeyboardInterrupt):
        main(words)
    monkeypatch.setattr(ablation, "run_all", run_all)
    assert main([*words, "--steps", "20", "--name", "hpcm_tiny-10-steps"]) == 2
    assert "was begun with config_digest" in capsys.readouterr().err
    assert main(words) == 0
    assert "4/12" in capsys.readouterr().out
    assert main(words) == 2
    assert "is there and complete; give another --name" in capsys.readouterr().err


def test_a_divergence_is_a_result(toy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(ToyCodec):
        def forward(self, x: torch.Tensor, generator: torch.Generator | None = None) -> dict:
            out = super().forward(x, generator)
            return {**out, "x_hat": out["x_hat"] * (float("nan") if self.training else 1)}

    monkeypatch.setattr("hpcm.training.run.build_model", lambda model: Broken())
    assert main([*WORDS, *FEW, "--lr", "0.001"]) == 0
    text = Path("out/hpcm_tiny-10-steps.md").read_text()
    assert "no arm ended all its runs" in text
    assert "- adam + sum, seed 0: step 0: the loss is not finite: distortion nan" in text


def _few() -> dict:
    return {"data": {"train": "few", "val": "few", "patch": 64, "batch_size": 1}}


def _toy_runs(plan: Plan) -> Iterator[RunCurve]:
    return run_all(jobs_of(plan, 1e-30, None), 1)


POOL = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from tuning.ablation.runs import end_with_parent

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=end_with_parent) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 60).result()
"""


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    words = [sys.executable, str(script)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        worker.wait(timeout=30)
