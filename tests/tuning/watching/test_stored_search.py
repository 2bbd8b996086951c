"""A whole search whose study is in PostgreSQL and whose checkpoints lie elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from optuna.trial import TrialState

from tests.tuning.fake_training import train
from tests.tuning.lr_space import lr_space
from tests.tuning.postgresql import PASSWORD, QUOTED, Server, server
from tuning.ledger.folders import read_provenance
from tuning.on_ray.cluster import cluster
from tuning.on_ray.experiment import run_experiment
from tuning.watching.study_storage import database, parse_study_url

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def postgresql() -> Iterator[Server]:
    with server() as found:
        yield found


def test_a_search_from_start_to_end_and_on(
    postgresql: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More trials on a second start, which finds the checkpoints without being told where."""
    monkeypatch.setenv("FAKE_TRAINING", str(tmp_path))
    url, scratch, seen = postgresql.url(), tmp_path / "scratch", []
    with cluster(None, dashboard=False):
        session = Path(ray._private.worker._global_node.get_session_dir_path())
        for trials, resume in ((4, None), (6, "last")):
            result = run_experiment(
                lr_space(tmp_path, budget={"trials": trials}),
                storage=str(tmp_path / "storage"),
                resume=resume,
                study_url=url,
                checkpoints=None if resume else f"file://{scratch}",
                on_notice=seen.append,
                train=train,
            )
            assert (result.complete, result.error) == (True, None)
    assert seen == []
    directory = result.info.directory

    storage = database(parse_study_url(url))
    (study,) = storage.get_all_studies()
    found = {t.user_attrs["trial"]: t for t in storage.get_all_trials(study._study_id)}
    storage.remove_session()
    storage.engine.dispose()
    expected = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    assert {n: t.state for n, t in found.items()} == {
        t.number: expected[t.state] for t in result.trials
    }
    assert not (directory / "study.journal").exists()
    shown = f"postgresql://ann@127.0.0.1:{postgresql.port}/postgres"
    assert read_provenance(directory)["study"] == result.info.study == shown

    assert read_provenance(directory)["checkpoints"] == f"file://{scratch}"
    assert not list(directory.glob("checkpoints/*/epoch-*"))
    kept = {path.parent.name: path.name for path in scratch.glob("*/*/epoch-*")}
    assert kept == {
        f"rates-{t.number:04d}": "epoch-000009" for t in result.trials if t.state == "finished"
    }

    for root in (tmp_path, session):
        for file in (p for p in root.rglob("*") if p.is_file() and not p.is_symlink()):
            content = file.read_bytes()
            assert PASSWORD.encode() not in content, file
            assert QUOTED.encode() not in content, file
    assert PASSWORD not in " ".join(os.environ.values())
