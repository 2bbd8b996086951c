"""`--import` of a search: read before any space, kept with the experiment, sent to every worker."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ray import cloudpickle

import hpcm
from hpcm import ConfigError, parts
from tests.own_parts import as_before
from tests.tuning.lr_space import lr_space
from tuning import load_space, read_result, run_experiment
from tuning.__main__ import main as tuning_main
from tuning.cli import main
from tuning.ledger.folders import EXPERIMENT_FILE, read_experiment, read_provenance
from tuning.on_ray.trainable import TrialContext

OWN = '''
"""A scheduler and a balancer under other names."""
from typing import Literal
import hpcm
from hpcm.optimizers import Sum
from hpcm.schema import config_class
from tuning.search.halving import Asha

@config_class
class Mine(Asha):
    """As asha."""

    name: Literal["mine"] = "mine"

@config_class
class Same(Sum):
    """As sum."""

    name: Literal["same"] = "same"

hpcm.register("scheduler", "mine", Mine)
hpcm.register("balancer", "same", Same)
'''


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    with as_before():
        yield


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A file of parts; beside it ``rates.yaml``, a space that names both."""
    lr_space(tmp_path)
    path = tmp_path / "rates.yaml"
    data = yaml.safe_load(path.read_text())
    data |= {"scheduler": {"name": "mine"}}
    data["base"]["balancer"] = {"name": "same"}
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    file = tmp_path / "search_parts.py"
    file.write_text(OWN)
    return file


def words_of(own: Path) -> list[str]:
    return ["--space", str(own.parent / "rates.yaml"), "--storage", str(own.parent / "found")]


@pytest.fixture
def simulated(own: Path) -> Path:
    """An experiment that had the file."""
    words = [*words_of(own), "--simulate", "family:good", "--slots", "2", "--import", str(own)]
    assert main(words) == 0
    (record,) = (own.parent / "found").glob(f"*/{EXPERIMENT_FILE}")
    return record.parent


def forget(own: Path) -> None:
    """As a new process: nothing was imported."""
    for kind, name in list(parts._registered):
        del parts.KINDS[kind].parts[name]
    parts._registered.clear()
    parts._imported.clear()
    sys.modules.pop(own.stem)


def test_a_space_names_parts_of_a_file(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words_of(own), "--dry-run"]) == 2
    assert "scheduler.name: 'mine' is unknown" in capsys.readouterr().err
    hpcm.import_parts([own])
    space = load_space(own.parent / "rates.yaml")
    assert space.scheduler.name == "mine"
    assert space.config(space.prior()).balancer.name == "same"


def test_the_record_and_the_export_name_the_file(own: Path, simulated: Path) -> None:
    digest = hashlib.sha256(OWN.encode()).hexdigest()
    assert read_provenance(simulated)["imports"] == {"search_parts.py": digest}
    assert read_experiment(simulated).scheduler.name == "mine"
    best = (simulated / "best.yaml").read_text()
    assert f"search_parts.py (SHA-256 {digest})" in best
    assert f"--import {own}" in best


def test_what_reads_the_experiment_needs_the_file(
    own: Path, simulated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = ["status", simulated.name, "--storage", str(simulated.parent)]
    assert tuning_main(status) == 0
    forget(own)
    assert tuning_main(status) == 2
    printed = capsys.readouterr().err
    assert "scheduler.name: 'mine' is unknown" in printed
    assert "it had --import search_parts.py" in printed
    assert tuning_main([*status, "--import", str(own)]) == 0


def test_a_resume_with_another_file_is_refused_with_the_difference(
    own: Path, simulated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = hashlib.sha256(OWN.encode()).hexdigest()
    resume = ["--resume", simulated.name, "--storage", str(simulated.parent)]
    forget(own)
    assert main(resume) == 2
    assert f"--import search_parts.py is missing (SHA-256 {digest})" in capsys.readouterr().err
    own.write_text(OWN + "\n# another\n")
    assert main([*resume, "--import", str(own)]) == 2
    other = hashlib.sha256(own.read_bytes()).hexdigest()
    assert f"SHA-256 was {digest}, now {other}" in capsys.readouterr().err
    space = load_space(own.parent / "rates.yaml")
    with pytest.raises(ConfigError, match="cannot go on: --import search_parts.py: SHA-256 was"):
        run_experiment(space, resume=simulated.name, storage=str(simulated.parent))
    assert read_result(simulated.name, str(simulated.parent)).complete


WORKER = """
import sys
from pathlib import Path
from ray import cloudpickle
context = cloudpickle.loads(Path(sys.argv[1]).read_bytes())
assert "search_parts" in sys.modules
space = context.space
print(space.scheduler.name, space.config(space.prior()).balancer.name)
from hpcm import parts
print(*parts.imported().values())
"""


def test_a_worker_gets_the_file_with_its_context(own: Path, tmp_path: Path) -> None:
    """It is in no folder of the worker's path."""
    hpcm.import_parts([own])
    space = load_space(own.parent / "rates.yaml")
    sent = tmp_path / "sent"
    sent.write_bytes(cloudpickle.dumps(TrialContext(space, tmp_path)))
    own.unlink()
    command = [sys.executable, "-c", WORKER, str(sent)]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True)
    digest = hashlib.sha256(OWN.encode()).hexdigest()
    assert run.stdout == f"mine same\n{digest}\n", run.stderr
