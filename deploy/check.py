"""Slips in a cluster's description that Ray finds late or never: `python deploy/check.py FILE ...`.

Ray's own offline check comes first; the rest is what it accepts and what then costs an evening: a
head without its autoscaler config, another Ray than ours, an exposed dashboard, no shared folder.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
PLACEHOLDER = re.compile(r"\b(?:ami|sg|fs)-0{17}\b|\b192\.0\.2\.\d+\b|shared-files")
# Flags that `ray symmetric-run` sets itself.
REFUSED = {"--head", "--port", "--block", "--node-ip-address"}


def ray_version() -> str:
    """The version of Ray that constraints.txt pins."""
    (pin,) = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return str(pin)


def problems(path: Path) -> list[str]:
    """Everything wrong in one description for ray up, KubeRay or Slurm, placeholders aside."""
    text = path.read_text()
    if path.suffix == ".sbatch":
        return list(slurm_problems(text))
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"not valid YAML: {error}"]
    if not isinstance(data, dict):
        return [f"holds {type(data).__name__}, not a mapping of keys to values"]
    return list(kuberay_problems(data) if "apiVersion" in data else ray_up_problems(data))


def placeholders(path: Path) -> list[str]:
    """Values of the shipped file that a person has to replace by their own."""
    return sorted(set(PLACEHOLDER.findall(path.read_text())))


def ray_up_problems(config: dict[str, Any]) -> Iterator[str]:
    """What is wrong in a file for `ray up`; Ray's own schema first."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(config))
    except (
        Exception
    ) as error:  # jsonschema's, click's, ValueError, NotImplementedError: Ray's choice
        yield f"Ray refuses it: {getattr(error, 'message', error)}"
        return
    provider = config["provider"]
    workers, most = len(provider.get("worker_ips", [])), config.get("max_workers")
    if most is not None and workers > most:
        yield f"max_workers: {most}, but provider.worker_ips has {workers}; Ray connects no more"
    addresses = [provider.get("head_ip"), *provider.get("worker_ips", [])]
    for address, count in Counter(filter(None, addresses)).items():
        if count > 1:
            yield f"provider: {address} is {count} nodes; every node has its own address"
    starts = config.get("head_start_ray_commands", []), config.get("worker_start_ray_commands", [])
    for name, commands in zip(("head", "worker"), starts, strict=True):
        yield from _start_problems(f"{name}_start_ray_commands", name == "head", commands)
        yield from (f"{name}_start_ray_commands: {told}" for told in _flag_problems(commands))
    yield from _setup_problems(config)
    yield from _home_problems(config)
    region = provider.get("region")
    for host in re.findall(r"fs-\w+\.efs\.([\w-]+)\.amazonaws\.com", str(config)):
        if host != region:
            yield f"the file system is in {host}, the nodes in {region}"


def _start_problems(key: str, head: bool, commands: list[str]) -> Iterator[str]:
    start = " ".join(command for command in commands if "ray start" in command)
    if not start:
        yield f"{key}: no `ray start`; Ray's default would start without our environment"
        return
    if head and "--autoscaling-config=" not in start:
        yield f"{key}: without --autoscaling-config no worker is ever started"
    yield from dashboard_problems(key, start)
    if "RAY_AUTH_MODE=token" not in start and "node_env.sh" not in start:
        yield f"{key}: without RAY_AUTH_MODE=token anyone who reaches the port runs code"


def _flag_problems(commands: list[str]) -> Iterator[str]:
    """Flags that `ray start` does not know: its own command line would say so on the node."""
    import click
    from ray.scripts.scripts import start

    for command in commands:
        for given in re.findall(r"\bray start\b([^&;|]*)", command):
            try:
                start.make_parser(click.Context(start)).parse_args(shlex.split(given))
            except (click.UsageError, ValueError) as error:
                yield f"ray start: {getattr(error, 'message', error)}"


def _home_problems(config: dict[str, Any]) -> Iterator[str]:
    """Files that are put into the home of another user than the one that logs in."""
    user = config.get("auth", {}).get("ssh_user")
    for path in config.get("file_mounts", {}):
        home = re.match(r"/home/([^/]+)/", path)
        if user and home and home[1] != user:
            yield f"file_mounts: {path} is in the home of {home[1]}, but auth.ssh_user is {user}"


def dashboard_problems(key: str, command: str) -> Iterator[str]:
    """A dashboard that listens on more than its own machine."""
    for host in re.findall(r"--dashboard-host[= ](\S+)", command):
        if host not in LOOPBACK:
            yield f"{key}: --dashboard-host={host}; keep it on 127.0.0.1 and use an SSH tunnel"


def _setup_problems(config: dict[str, Any]) -> Iterator[str]:
    keys = ("initialization_commands", "setup_commands", "head_setup_commands")
    commands = " ".join(line for key in keys for line in config.get(key, []))
    images = [str(v) for k, v in config.get("docker", {}).items() if "image" in k]
    for text in (commands, *images):
        for version in re.findall(r"ray(?:\[[\w,]+\])?(?:==|:)(\d+\.\d+\.\d+)", text):
            if version != ray_version():
                yield f"Ray {version} on the nodes, {ray_version()} in constraints.txt"
    if "make install" not in commands and "-c constraints.txt" not in commands:
        yield "setup_commands: do not install from constraints.txt"
    if not re.search(r"\bmount(point)?\b", commands):
        yield "no shared folder is mounted: a trial cannot continue on another node"
    mounts = config.get("file_mounts", {})
    tokens = [mine for path, mine in mounts.items() if path.endswith(".ray/auth_token")]
    if not tokens:
        yield "file_mounts: ~/.ray/auth_token is not among them; workers could not join"
    elif not tokens[0].endswith("/.ray/auth_token"):
        yield f"file_mounts: the token is read from {tokens[0]}; Ray keeps it in ~/.ray/auth_token"
    if "." in mounts.values() and ".venv" not in config.get("rsync_exclude", []):
        yield "rsync_exclude: .venv is not in it; gigabytes would be copied to every node"


def kuberay_problems(data: dict[str, Any]) -> Iterator[str]:
    """What is wrong in manifests for the KubeRay operator."""
    items = {item["kind"]: item["spec"] for item in data.get("items", [data])}
    claim = items.get("PersistentVolumeClaim")
    if claim is None or claim["accessModes"] != ["ReadWriteMany"]:
        yield "no claim for a ReadWriteMany volume: pods would not see each other's checkpoints"
    clusters = {"RayCluster": items.get("RayCluster")}
    clusters["RayJob"] = items.get("RayJob", {}).get("rayClusterSpec")
    for kind, spec in clusters.items():
        if spec is not None:
            yield from (f"{kind}: {problem}" for problem in _pod_problems(spec))


def _pod_problems(spec: dict[str, Any]) -> Iterator[str]:
    if spec.get("rayVersion") != ray_version():
        yield f"rayVersion {spec.get('rayVersion')}, but {ray_version()} in constraints.txt"
    if spec.get("authOptions", {}).get("mode") != "token":
        yield "authOptions.mode is not token: anyone in the network runs code"
    head = spec["headGroupSpec"]
    if head.get("serviceType", "ClusterIP") != "ClusterIP":
        yield f"headGroupSpec.serviceType is {head['serviceType']}: the dashboard would be public"
    groups = [head, *spec["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    containers = [pod["containers"][0] for pod in pods]
    if len({container["image"] for container in containers}) > 1:
        yield "head and workers run different images"
    for pod, container in zip(pods, containers, strict=True):
        claimed = {v["name"] for v in pod.get("volumes", []) if "persistentVolumeClaim" in v}
        if not any(mount["name"] in claimed for mount in container.get("volumeMounts", [])):
            yield f"{container['name']}: mounts no shared folder"
    limits = [container["resources"]["limits"] for container in containers[1:]]
    if not any("nvidia.com/gpu" in limit for limit in limits):
        yield "no worker group has a GPU"


def slurm_problems(text: str) -> Iterator[str]:
    """What is wrong in a batch script that starts Ray with `ray symmetric-run`."""
    syntax = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    if syntax.returncode:
        yield f"bash refuses it: {syntax.stderr.strip()}"
        return
    code = "\n".join(line for line in text.splitlines() if not re.match(r"#(?!SBATCH)", line))
    joined = code.replace("\\\n", " ")
    runs = re.findall(r"ray symmetric-run (.*?) -- (.*)", joined)
    if len(runs) != 1:
        yield f"{len(runs)} calls of `ray symmetric-run ... -- command`; one is right"
        return
    ((given, search),) = runs
    flags = {word.partition("=")[0] for word in given.split()}
    for flag in sorted(flags & REFUSED):
        yield f"{flag}: symmetric-run sets it and refuses it"
    for flag in sorted({"--address", "--min-nodes"} - flags):
        yield f"{flag} is missing"
    if "--address" not in search:
        yield "the search has no --address: it would start a Ray of its own on one node"
    yield from dashboard_problems("symmetric-run", given)
    if not re.search(r"^#SBATCH --exclusive$", code, re.MULTILINE):
        yield "--exclusive is missing: symmetric-run stops every Ray process of the user on a node"
    if "RAY_AUTH_MODE=token" not in code and "node_env.sh" not in code:
        yield "without RAY_AUTH_MODE=token anyone who reaches the port runs code"


def main(words: list[str]) -> int:
    """Print what is wrong, one line each; the exit code is 1 if anything is, 2 for no file."""
    parser = argparse.ArgumentParser(
        prog="python deploy/check.py", description="Look for slips in a cluster's description."
    )
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    found = 0
    for path in parser.parse_args(words).files:
        if not path.is_file():
            print(f"{path}: there is no such file", file=sys.stderr)
            return 2
        lines = problems(path)
        lines += [f"{value} is a placeholder: put your own in" for value in placeholders(path)]
        found += len(lines)
        print("\n".join(f"{path}: {line}" for line in lines or ["nothing found"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
