"""What a person is sent runs no code: checkpoints, space files, run configs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcm import TrainConfig
from hpcm.schema import ConfigError
from tuning import load_space

ROOT = Path(__file__).parents[1]
CODE = sorted([*ROOT.glob("hpcm/**/*.py"), *ROOT.glob("tuning/**/*.py"), *ROOT.glob("deploy/*.py")])
CODE.append(ROOT / "tune.py")
#: What executes what it reads. `torch.load` is looked at by its own rule.
EXECUTES = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "cloudpickle.load",
    "cloudpickle.loads",
    "marshal.loads",
    "shelve.open",
    "joblib.load",
    "pd.read_pickle",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
}
#: The driver reads the exception that Ray has just written beside its own session's files; a
#: worker reads what the driver sends through Ray; Python files that a user names by `--import`; the
#: processes of one run read what the first of them sends.
ALLOWED = {
    ("tuning/on_ray/recovery.py", "cloudpickle.loads"),
    ("tuning/on_ray/trainable.py", "cloudpickle.loads"),
    ("hpcm/parts.py", "exec"),
    ("hpcm/training/processes.py", "pickle.loads"),
}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file, under the dotted name that it is written with."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def given(call: ast.Call, name: str) -> object:
    """The constant that a call passes by this name."""
    values = [k.value.value for k in call.keywords if k.arg == name and _is_constant(k.value)]
    return values[0] if values else None


def _is_constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant)


def test_nothing_executes_what_it_reads() -> None:
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in CODE
        for name, _ in calls(path)
        if name in EXECUTES
    }
    assert found == ALLOWED


def test_every_checkpoint_is_loaded_as_weights_only() -> None:
    loads = [call for path in CODE for name, call in calls(path) if name == "torch.load"]
    assert len(loads) == 1
    assert all(given(call, "weights_only") is True for call in loads)


def test_no_command_goes_through_a_shell() -> None:
    found = [
        str(path)
        for path in CODE
        for name, call in calls(path)
        if name.startswith("subprocess.") and given(call, "shell")
    ]
    assert found == []


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:pathlib.Path.touch [{file}]",
        "!!python/object/new:pathlib.Path [{file}]",
        "!!python/name:os.system",
        "!!python/module:antigravity",
        "!include {file}",
    ],
)
def test_a_yaml_file_runs_nothing(tmp_path: Path, value: str) -> None:
    """Neither the space of a search nor the config of a run."""
    touched = tmp_path / "touched"
    space, run = tmp_path / "mine.yaml", tmp_path / "run.yaml"
    text = (ROOT / "search_spaces/phase1.yaml").read_text()
    space.write_text(text + "\nevil: " + value.format(file=touched) + "\n")
    run.write_text("seed: " + value.format(file=touched) + "\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: line \d+: not valid YAML"):
        load_space(str(space))
    with pytest.raises(ConfigError, match=r"run\.yaml: line \d+: not valid YAML"):
        TrainConfig.from_yaml(run)
    assert not touched.exists()
