"""Several processes train one run as one process does, and end together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hpcm import ConfigError, local_processes, ranks, train
from hpcm.checkpoints import RECORD_FILE
from hpcm.optimizers import BALANCERS
from hpcm.ranks import RankLostError
from hpcm.training import local_processes as local
from hpcm.training.seeding import NOISE, NOISE_BEFORE
from tests.hpcm.training.test_resume import config
from tests.hpcm.training.two_processes import SAVED_AFTER, toy, train_together, trained

pytestmark = pytest.mark.filterwarnings("ignore:balancer learned_shares degenerates")

CASES: dict[str, dict[str, Any]] = {name: {"balancer": {"name": name}} for name in BALANCERS} | {
    "shares that learn": {"balancer": {"name": "learned_shares", "w_lr": 0.1}},
    "adaptive gammas": {
        "balancer": {"name": "famo_per_scale", "gamma_schedule": {"name": "adaptive"}}
    },
    "regularizers": {
        "regularizers": {
            "inter_scale": {"delta": 0.01, "start": 0.0},
            "dct_truncation": {"end": 0.5},
        }
    },
    "average": {"ema": {"decay": 0.9}, "precision": {"preset": "auto"}},
}


def assert_close(found: Any, expected: Any) -> None:
    for epoch, wanted in zip(found[0], expected[0], strict=True):
        assert epoch == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-6)


def assert_equal(found: Any, expected: Any) -> None:
    assert found[0] == expected[0]
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=0)


@pytest.fixture(scope="module")
def together(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What both processes found, by rank; what one finds alone; how it ended; where it is."""
    folder = tmp_path_factory.mktemp("together")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPCM_DATA", str(data_root))
        configs = {
            name: config("gradients", **case, data=_data(), validate_every=4)
            for name, case in CASES.items()
        }
        alone = {name: trained(cfg, folder / f"{name} alone") for name, cfg in configs.items()}
        with pytest.raises(RankLostError) as ended, local_processes(train_together, 2) as start:
            list(start(configs, by_one=folder / "sum alone", folder=folder))
        torch.distributed.destroy_process_group()
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)], alone, ended.value, folder


def _data() -> dict[str, Any]:
    crops = {"patch": 64, "batch_size": 4, "crops_per_epoch": 8, "workers": 0}
    return {"train": "gradients", "val": "gradients", **crops}


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(name: str, together: Any) -> None:
    (first, second), alone, *_ = together
    assert_equal(first[name], second[name])
    assert_close(first[name], alone[name])


def test_a_checkpoint_is_good_for_any_number_of_processes(together: Any, image_folder: str) -> None:
    (first, _), alone, _, folder = together
    whole = first["sum"][0][SAVED_AFTER:], first["sum"][1]
    assert_equal(first["resumed"], whole)
    assert_close(first["resumed from one process"], whole)
    by_one = trained(config(image_folder, data=_data(), validate_every=4), resume=folder / "sum")
    assert_close(by_one, (alone["sum"][0][SAVED_AFTER:], alone["sum"][1]))


def test_the_error_of_another_process_is_said(together: Any) -> None:
    assert str(together[2]) == "process 1 of this run broke: ValueError: broken on purpose"


class FakeStore:
    """As if no process had left a word."""

    port = 0

    def check(self, keys: list[str]) -> bool:
        return False


def test_a_process_that_waits_for_a_dead_one_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dead(rank: int, count: int, port: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])

    monkeypatch.setattr(local, "_start", dead)
    codes: list[int] = []
    others = local.Followers(FakeStore(), 2, grace=0.0, give_up=codes.append)
    others.watching[0].join()
    assert codes == [1]
    assert capsys.readouterr().err == "process 1 of this run broke: it ended with exit code -9\n"
    others.end()


def test_a_process_ends_when_its_parent_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(local.os, "_exit", ended)
    with pytest.raises(SystemExit):
        local._end_with(parent=-1)


def test_what_several_processes_cannot_train_is_refused(
    image_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "count", lambda: 3)
    with pytest.raises(ConfigError) as raised:
        train(config(image_folder, data=_data(), validate_every=4), model=toy(), device="cpu")
    assert str(raised.value) == (
        "data.batch_size: 4: this run has 3 processes, and each takes an equal part of a batch; "
        "must be a multiple of 3"
    )


def test_noise_of_whole_batches_is_refused(
    image_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config(image_folder, data=_data())
    next(train(cfg, model=toy(), device="cpu")).save(tmp_path)
    record = tmp_path / RECORD_FILE
    record.write_text(record.read_text().replace(NOISE, NOISE_BEFORE))
    monkeypatch.setattr(ranks, "count", lambda: 2)
    with pytest.raises(ConfigError, match="cannot be continued by 2 processes: it began with"):
        train(cfg, model=toy(), device="cpu", resume=tmp_path)


def test_processes_without_a_group_are_refused(
    image_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="torchrun started 2 processes, and each would train"):
        train(config(image_folder), model=toy(), device="cpu")
