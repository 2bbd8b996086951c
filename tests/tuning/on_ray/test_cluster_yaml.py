"""The shipped cluster descriptions pass Ray's offline check and ours, and ours finds slips.

cluster.yaml, onprem.yaml, kuberay.yaml, slurm.sbatch, and prometheus.yml in test_grafana.py; what
only a cloud can show is in docs/log.md.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.check import main, placeholders, problems, ray_up_problems, ray_version

ROOT = Path(__file__).parents[3]
SHIPPED = ["cluster.yaml", "deploy/onprem.yaml", "deploy/kuberay.yaml", "deploy/slurm.sbatch"]

Change = Callable[[Any], object]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_description_has_no_problem(name: str) -> None:
    assert problems(ROOT / name) == []


def test_placeholders_are_named_until_they_are_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert placeholders(ROOT / "cluster.yaml") == [
        f"{kind}-{'0' * 17}" for kind in ("ami", "fs", "sg")
    ]
    assert main([str(ROOT / "cluster.yaml")]) == 1
    filled = re.sub("0{17}", "0123456789abcdef0", (ROOT / "cluster.yaml").read_text())
    (tmp_path / "cluster.yaml").write_text(filled)
    assert main([str(tmp_path / "cluster.yaml")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("nothing found")


def set_key(*keys: str, value: Any) -> Change:
    """A change that sets one nested key."""

    def change(config: Any) -> None:
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = value

    return change


def replace(old: str, new: str) -> Change:
    """A change that replaces text in every command and value of the file."""

    def change(config: Any) -> None:
        text = yaml.safe_dump(config, width=10_000)
        assert old in text
        config.clear()
        config.update(yaml.safe_load(text.replace(old, new)))

    return change


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("cluster.yaml", set_key("image", value="x"), "Ray refuses it"),
        ("cluster.yaml", set_key("available_node_types", "gpu", "gpus", value=1), "Ray refuses it"),
        (
            "cluster.yaml",
            set_key("available_node_types", "gpu", "resources", "GPU", value="one"),
            "Ray refuses it",
        ),
        ("cluster.yaml", set_key("head_node_type", value="boss"), "Ray refuses it"),
        (
            "cluster.yaml",
            set_key("available_node_types", "gpu", "min_workers", value=9),
            "Ray refuses it",
        ),
        ("cluster.yaml", set_key("provider", "type", value="cloudy"), "Ray refuses it"),
        (
            "cluster.yaml",
            replace(" --autoscaling-config=~/ray_bootstrap_config.yaml", ""),
            "without --autoscaling-config",
        ),
        (
            "cluster.yaml",
            replace("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0"),
            "--dashboard-host=0.0.0.0",
        ),
        ("cluster.yaml", set_key("head_start_ray_commands", value=["ray stop"]), "no `ray start`"),
        (
            "cluster.yaml",
            set_key("worker_start_ray_commands", value=["ray start --address=$RAY_HEAD_IP:6379"]),
            "RAY_AUTH_MODE=token",
        ),
        (
            "cluster.yaml",
            set_key("setup_commands", value=["pip install ray[default]==2.9.0 -c constraints.txt"]),
            "Ray 2.9.0 on the nodes",
        ),
        (
            "cluster.yaml",
            set_key("docker", value={"image": "rayproject/ray:2.9.0", "container_name": "ray"}),
            "Ray 2.9.0 on the nodes",
        ),
        ("cluster.yaml", set_key("setup_commands", value=[]), "do not install from constraints"),
        ("cluster.yaml", set_key("initialization_commands", value=[]), "no shared folder"),
        ("cluster.yaml", set_key("file_mounts", value={}), "auth_token"),
        ("cluster.yaml", set_key("rsync_exclude", value=[]), ".venv is not in it"),
        (
            "deploy/onprem.yaml",
            set_key("auth", "ssh_user", value="me"),
            "/home/ubuntu/hpcm-tune is in the home of ubuntu, but auth.ssh_user is me",
        ),
        (
            "deploy/onprem.yaml",
            replace("--dashboard-host=127.0.0.1", "--dashboard-hosts=127.0.0.1"),
            "head_start_ray_commands: ray start: No such option",
        ),
        (
            "deploy/onprem.yaml",
            replace("~/.ray/auth_token", "~/.ray/token"),
            "the token is read from ~/.ray/token",
        ),
        (
            "cluster.yaml",
            set_key("provider", "region", value="eu-west-1"),
            "the nodes in eu-west-1",
        ),
        (
            "deploy/onprem.yaml",
            set_key("provider", "worker_ips", value=["192.0.2.11", "192.0.2.11"]),
            "192.0.2.11 is 2 nodes",
        ),
        (
            "deploy/onprem.yaml",
            set_key("provider", "worker_ips", value=["192.0.2.10"]),
            "192.0.2.10 is 2 nodes",
        ),
        (
            "deploy/onprem.yaml",
            lambda config: config["provider"].pop("worker_ips"),
            "Ray refuses it",
        ),
        (
            "deploy/onprem.yaml",
            set_key("provider", "worker_ips", value=[f"192.0.2.{n}" for n in range(11, 15)]),
            "max_workers: 3, but provider.worker_ips has 4",
        ),
        ("deploy/kuberay.yaml", replace("rayVersion: 2.60.0", "rayVersion: 2.9.0"), "rayVersion"),
        ("deploy/kuberay.yaml", replace("mode: token", "mode: disabled"), "authOptions.mode"),
        ("deploy/kuberay.yaml", replace("ClusterIP", "LoadBalancer"), "LoadBalancer"),
        ("deploy/kuberay.yaml", replace("ReadWriteMany", "ReadWriteOnce"), "ReadWriteMany"),
        ("deploy/kuberay.yaml", replace("nvidia.com/gpu", "example.com/gpu"), "GPU"),
        (
            "deploy/kuberay.yaml",
            replace("persistentVolumeClaim:", "emptyDir:"),
            "mounts no shared folder",
        ),
    ],
)
def test_check_finds(name: str, change: Change, expected: str, tmp_path: Path) -> None:
    config = copy.deepcopy(read(name))
    change(config)
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(config))
    found = problems(path)
    assert any(expected in line for line in found), found


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("--min-nodes", "--head --min-nodes", "--head"),
        ('--min-nodes "$SLURM_JOB_NUM_NODES"', "", "--min-nodes is missing"),
        ("127.0.0.1 --", "0.0.0.0 --", "--dashboard-host=0.0.0.0"),
        (' --address "$address:$port" "$@"', ' "$@"', "the search has no --address"),
        ("#SBATCH --exclusive\n", "", "--exclusive is missing"),
        (". deploy/node_env.sh", "", "RAY_AUTH_MODE=token"),
        ("ray symmetric-run", "ray start", "0 calls"),
        ('cd "$HPCM_HOME"', 'cd "$HPCM_HOME', "bash refuses it"),
    ],
)
def test_check_finds_in_the_batch_script(old: str, new: str, expected: str, tmp_path: Path) -> None:
    text = (ROOT / "deploy/slurm.sbatch").read_text()
    assert old in text
    path = tmp_path / "changed.sbatch"
    path.write_text(text.replace(old, new))
    assert any(expected in line for line in problems(path)), problems(path)


def test_what_is_no_file_is_named_and_help_is_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/none.yaml: there is no such file\n"
    for words, code in (["--help"], 0), ([], 2):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == code


def test_a_file_that_is_no_cluster_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [1,\n")
    (tmp_path / "b.yaml").write_text("- 1\n")
    assert "not valid YAML" in problems(tmp_path / "a.yaml")[0]
    assert "holds list" in problems(tmp_path / "b.yaml")[0]
    assert "Ray refuses it" in next(iter(ray_up_problems({"cluster_name": "x", "nodes": 3})))


def test_on_ones_own_machines_ray_counts_the_heads_gpus_too() -> None:
    assert "--num-" not in str(read("deploy/onprem.yaml")["head_start_ray_commands"])


def test_cluster_has_an_on_demand_head_without_trials_and_spot_gpu_workers() -> None:
    types = read("cluster.yaml")["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert types["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert (types["gpu"]["min_workers"], types["gpu"]["resources"]["GPU"]) == (0, 1)


def test_every_node_command_is_bash() -> None:
    keys = ("initialization_commands", "setup_commands")
    keys += ("head_start_ray_commands", "worker_start_ray_commands")
    for name in ("cluster.yaml", "deploy/onprem.yaml"):
        for key in keys:
            for command in read(name)[key]:
                run = subprocess.run(["bash", "-n"], input=command, text=True, capture_output=True)
                assert run.stderr == "", f"{name}: {key}: {command}"


def test_install_on_nodes_names_extras_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for name in ("cluster.yaml", "deploy/onprem.yaml", "deploy/Dockerfile"):
        (given,) = re.findall(r"make install EXTRAS=([\w,]+)", (ROOT / name).read_text())
        assert set(given.split(",")) <= set(extras), name


def test_the_image_is_called_by_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name in ("deploy/kuberay.yaml", "deploy/Dockerfile", "docs/cluster.md"):
        found = set(re.findall(r"hpcm-tune:(\d[\w.]*\d)", (ROOT / name).read_text()))
        assert found == {version}, name


def test_image_holds_what_a_search_reads() -> None:
    """Every folder that the search imports or reads, and what `make install` needs."""
    lines = (ROOT / "deploy/Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert {"hpcm", "tuning", "search_spaces", "deploy", "tune.py"} <= copied
    assert {"Makefile", "constraints.txt", "pyproject.toml", "README.md", "LICENSE"} <= copied
    assert all((ROOT / name).exists() for name in copied)


def test_node_environment(tmp_path: Path) -> None:
    """Defaults, and what a site sets first wins."""
    script = '. deploy/node_env.sh; echo "$HPCM_DATA|$RAY_AUTH_MODE|${PATH%%:*}"'
    plain = {"PATH": os.environ["PATH"], "HOME": "/home/ubuntu"}
    site = {**plain, "HPCM_SHARED": "/scratch/hpcm", "HPCM_HOME": "/code"}
    runs = [
        subprocess.run(["sh", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True)
        for env in (plain, site)
    ]
    assert runs[0].stdout == "/mnt/hpcm/data|token|/home/ubuntu/hpcm-tune/.venv/bin\n"
    assert runs[1].stdout == "/scratch/hpcm/data|token|/code/.venv/bin\n"


def test_search_script_starts_once_and_then_resumes(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    storage = tmp_path / "experiments"
    env = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
    command = [str(ROOT / "deploy/search.sh"), str(storage), "--space", "phase3"]

    def last_command() -> str:
        run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    assert last_command() == f"tune.py --storage {storage} --space phase3"
    experiment = storage / "phase3-20260101-120000"
    experiment.mkdir()  # a driver that died at once, or lost+found: no experiment yet
    assert last_command() == f"tune.py --storage {storage} --space phase3"
    (experiment / "experiment.json").touch()
    assert last_command() == f"tune.py --storage {storage} --space phase3 --resume last"


def test_ray_version_is_the_pin() -> None:
    import ray

    assert ray_version() == ray.__version__


def test_submitted_folder_is_the_code_and_small(tmp_path: Path) -> None:
    """What `ray job submit --working-dir .` uploads."""
    from ray._private.ray_constants import RAY_RUNTIME_ENV_DEFAULT_EXCLUDES as DEFAULTS
    from ray._private.runtime_env.packaging import create_package

    package = tmp_path / "code.zip"
    create_package(str(ROOT), package, include_gitignore=True, excludes=DEFAULTS.split(","))
    names = {Path(name).parts[0] for name in zipfile.ZipFile(package).namelist()}
    assert {"hpcm", "tuning", "tune.py", "search_spaces", "deploy"} <= names
    assert not names & {".venv", ".git", "tests", "results"}
    assert package.stat().st_size < 12e6  # 9 MB of it are the sample weights of four lmbda
