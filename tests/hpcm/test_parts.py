"""Parts that a user brings: what `register` and `--import` refuse, and what a record knows."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import yaml

import hpcm
from hpcm import ConfigError, TrainConfig, parts
from hpcm.__main__ import main
from hpcm.losses.task_set import TaskSet
from hpcm.optimizers import BALANCERS, Sum
from hpcm.schema import config_class
from tests.hpcm.toy_run import CONFIG, toy_run
from tests.own_parts import as_before

OWN = '''
"""A balancer under another name."""
from typing import Literal
import hpcm
from hpcm.optimizers import Sum
from hpcm.schema import config_class

@config_class
class Mine(Sum):
    """The plain sum."""

    name: Literal["mine"] = "mine"

hpcm.register("balancer", "mine", Mine)
'''


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Each test starts and ends without parts of its own."""
    with as_before():
        yield
    sys.modules.pop("mine", None)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run config that names a balancer of ``mine.py``, both in the working directory."""
    path = toy_run(tmp_path, monkeypatch)
    path.write_text(yaml.safe_dump({**CONFIG, "balancer": {"name": "mine"}}))
    Path("mine.py").write_text(OWN)
    return path


@config_class
class Plain(Sum):
    """The plain sum under another name."""

    name: Literal["plain"] = "plain"  # type: ignore[assignment]


def test_a_registered_part_is_a_choice_at_once() -> None:
    given = {"balancer": {"name": "plain"}}
    with pytest.raises(ConfigError, match=r"balancer\.name: 'plain' is unknown"):
        TrainConfig.from_plain(given, "run")
    hpcm.register("balancer", "plain", Plain)
    assert TrainConfig.from_plain(given, "run").balancer == Plain()


@pytest.mark.parametrize(
    ("kind", "name", "part", "message"),
    [
        ("balancr", "plain", Plain, "kind 'balancr' is unknown. Did you mean 'balancer'"),
        ("balancer", "sum", Plain, "balancer 'sum' exists already"),
        ("balancer", "other", Plain, "balancer 'other' calls itself 'plain'"),
        ("optimizer", "plain", Plain, "must be a subclass of OptimizerConfig"),
        ("balancer", "plain", Plain(), "must be a subclass of BalancerConfig"),
        ("balancer", "plain", type("Bare", (Sum.__base__,), {}), "that @config_class decorates"),
        ("task_set", "plain", Plain, "must be a TaskSet"),
    ],
)
def test_what_is_no_part_is_refused(kind: str, name: str, part: object, message: str) -> None:
    before = {kind: dict(kind_.parts) for kind, kind_ in parts.KINDS.items()}
    with pytest.raises(ConfigError, match=message):
        hpcm.register(kind, name, part)
    assert {kind: dict(kind_.parts) for kind, kind_ in parts.KINDS.items()} == before


def test_an_object_is_registered_as_it_is() -> None:
    tasks = TaskSet(("distortion",), ("D",), (None,), lambda out, x, loss, terms: [terms.mse])
    hpcm.register("task_set", "one", tasks)
    given = {"balancer": {"name": "famo", "tasks": "one"}}
    assert TrainConfig.from_plain(given, "run").tasks is tasks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import gone_away", r"mine\.py:1: No module named 'gone_away'"),
        ("x = 1\ny = (", r"mine\.py:2: "),
        ("\n\nraise OSError('no')", r"mine\.py:3: no"),
        (OWN + "\nhpcm.register('balancer', 'mine', Mine)", "'mine' exists already"),
    ],
)
def test_a_file_that_breaks_adds_nothing(text: str, message: str, config: Path) -> None:
    before = dict(BALANCERS)
    Path("mine.py").write_text(text)
    with pytest.raises(ConfigError, match=f"^--import {message}" if ":" in message else message):
        hpcm.import_parts(["mine.py"])
    assert before == BALANCERS
    assert parts.imported() == {}
    assert "mine" not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.py", "--import gone.py: cannot be read: No such file"),
        ("toy.yaml", "--import toy.yaml: must be a Python file"),
        ("torch.py", "--import torch.py: there is a module 'torch' already"),
    ],
)
def test_a_file_that_cannot_be_a_module_is_refused(
    name: str, message: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("torch.py").write_text("")
    assert main(["train", str(config), "--import", name]) == 2
    assert capsys.readouterr().err.startswith(message)
    assert not Path("runs").exists()


def test_a_run_with_a_part_of_its_own_and_its_evaluation(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--import", "mine.py"]
    assert main(["train", str(config), "--epochs", "1", "--output", "out"]) == 2
    assert "balancer.name: 'mine' is unknown" in capsys.readouterr().err
    assert main(["train", str(config), "--epochs", "1", "--output", "out", *own]) == 0
    record = json.loads(Path("out/checkpoints/epoch-00001/run.json").read_text())
    digest = hashlib.sha256(Path("mine.py").read_bytes()).hexdigest()
    assert record["imports"] == {"mine.py": digest}
    assert f"--import mine.py (SHA-256 {digest})" in Path("out/config.yaml").read_text()
    assert main(["evaluate", "out", "--images", "few", "--output", "found.json", *own]) == 0
    (point,) = json.loads(Path("found.json").read_text())["points"]
    assert point["imports"] == {"mine.py": digest}


def test_a_resume_with_another_file_is_refused_with_the_difference(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", str(config), "--output", "out"]
    assert main([*train, "--epochs", "1", "--import", "mine.py"]) == 0
    (digest,) = parts.imported().values()
    Path("mine.py").write_text(OWN + "\n# another\n")
    other = parts.Source("mine.py", Path("mine.py").read_bytes())
    again = [*train, "--epochs", "2", "--resume", "--import", "mine.py"]
    assert main(again) == 2
    assert "another mine.py is imported already" in capsys.readouterr().err

    parts._imported["mine.py"] = other  # as in a new process
    assert main(again) == 2
    printed = capsys.readouterr().err
    assert (
        f"cannot be continued: --import mine.py: SHA-256 was {digest}, now {other.digest}"
        in printed
    )
    parts._imported.clear()
    assert main(again[:-2]) == 2
    assert f"--import mine.py is missing (SHA-256 {digest})" in capsys.readouterr().err


def test_a_part_that_a_checkpoint_needs_is_named(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--import", "mine.py"]
    assert main(["train", str(config), "--epochs", "1", "--output", "out", *own]) == 0
    BALANCERS.pop("mine")
    parts._imported.clear()
    assert main(["evaluate", "out", "--images", "few"]) == 2
    printed = capsys.readouterr().err
    assert "balancer.name: 'mine' is unknown" in printed
    assert "the run had --import mine.py" in printed


def test_differences() -> None:
    assert parts.differences({"a.py": "1", "b.py": "2"}, {"a.py": "1", "b.py": "2"}) == []
    assert parts.differences({"a.py": "1", "b.py": "2"}, {"b.py": "3", "c.py": "4"}) == [
        "--import a.py is missing (SHA-256 1)",
        "--import b.py: SHA-256 was 2, now 3",
        "--import c.py was not there (SHA-256 4)",
    ]
