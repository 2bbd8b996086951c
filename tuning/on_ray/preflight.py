"""What is checked before an experiment exists, so that nothing waits for ever or fails late."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import torch

from hpcm import ConfigError, TrainConfig, check_inputs
from hpcm.evaluation.run_images import run_images
from hpcm.evaluation.validation import scores_ms_ssim
from tuning.checkpoints.disk_space import check_disk
from tuning.checkpoints.places import local_folder
from tuning.ledger.records import LOCAL
from tuning.on_ray.autoscaling import autoscaling
from tuning.on_ray.cluster import Cluster
from tuning.on_ray.node_checks import SharedPaths, check_nodes
from tuning.on_ray.node_facts import Facts, Inputs, Reference
from tuning.spaces.ladder_space import CONFIG
from tuning.spaces.probes import boundary_configs
from tuning.spaces.refusals import NotNowError
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import count_text

READ = ("data.", "model.", "start_from", CONFIG)  # fields that decide what a trial reads
HEAD = "node:__internal_head__"  # a resource that Ray gives only to the head
MS_SSIM = "val_ms_ssim_db"
EPS = 1e-9  # Ray counts in ten-thousandths


def slots(space: SearchSpace) -> int:
    """Trials that fit into the cluster at a time, what its autoscaler may start included.

    Raises :class:`NotNowError` if not even one fits on a node: when a cluster is started again,
    the head is there first.
    """
    need = space.resources
    nodes = _nodes()
    here = {True: 0, False: 0}  # on the head, and on workers, which an autoscaler may have started
    for node in nodes:
        here[HEAD in node] += _fits(need.cpu, need.gpu, node)
    scaling = autoscaling()
    may = scaling.most(lambda resources: _fits(need.cpu, need.gpu, resources))
    if fit := here[True] + max(here[False], may):
        return fit
    largest: dict[str, float] = max(
        nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={}
    )
    laptop = "laptop" in space.profiles and space.profile != "laptop"
    raise NotNowError(
        f"resources: a trial asks for {need.gpu:g} GPU and {need.cpu:g} CPU; no node of the Ray"
        f" cluster has them (the largest has {largest.get('GPU', 0):g} GPU and"
        f" {largest.get('CPU', 0):g} CPU) and no autoscaler may start one"
        f"{f' (only {scaling})' if scaling.types else ''}. Ask for less with --set"
        f" resources.gpu=0 resources.cpu=1{', or take --profile laptop' if laptop else ''}"
    )


def concurrent(space: SearchSpace) -> int:
    """Trials to run at a time: what the budget says, and never more than fit."""
    return _within(space, slots(space))


def concurrent_now(space: SearchSpace) -> int:
    """The same for the nodes that are there at this moment; may be none."""
    need = space.resources
    return _within(space, sum(_fits(need.cpu, need.gpu, node) for node in _nodes()))


def idle_text(space: SearchSpace) -> str:
    """How many GPUs of the cluster, or of this machine, trials will leave idle, and why; or ""."""
    gpus = int(sum(node.get("GPU", 0) for node in _nodes()))
    need, budget, at_a_time = space.resources, space.budget, concurrent_now(space)
    left = gpus - math.ceil(at_a_time * need.gpu - EPS)
    if left < 1 or (need.gpu and not at_a_time):  # of a cluster that is still starting
        return ""
    if not need.gpu:
        reason = "resources.gpu is 0"
    elif at_a_time == budget.concurrent:
        reason = f"budget.concurrent is {at_a_time}"
    elif at_a_time == budget.trials:
        reason = f"budget.trials is {at_a_time}"
    else:
        reason = f"a trial takes {need.cpu:g} CPU as well, resources.cpu"
    return f"{left} of {count_text(gpus, 'GPU')}: {reason}"


def _within(space: SearchSpace, fit: int) -> int:
    return min(fit, space.budget.concurrent or fit, space.budget.trials)


def _nodes() -> list[dict[str, float]]:
    """The resources of each node that is there; without Ray of this machine."""
    if not ray.is_initialized():
        return [{"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}]
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_cluster(
    space: SearchSpace,
    folder: Path,
    joined: Cluster,
    *,
    trains: bool,
    inputs: Inputs,
    read: Facts,
    resumed: Path | None,
    checkpoints: str | None = None,
) -> Reference | None:
    """Raise :class:`ConfigError` if checkpoints do not fit on the disk or nodes differ.

    Gives what trials compare their nodes with; None if Ray runs on this machine only. ``trains``:
    whether trials read and write what :func:`hpcm.train` does; ``inputs``: which sets and weights,
    ``read``: what this machine knows of them. ``resumed``: the experiment to continue.
    ``checkpoints``: folder or URL; None: in the experiment's folder.
    """
    room = local_folder(checkpoints, folder)
    if trains and room is not None:  # an object store has no known size
        check_disk(space, room, concurrent(space), resumed)
    if joined.address == LOCAL:
        return None
    return check_nodes(inputs, read, space.resources, SharedPaths.of(folder, checkpoints))


def trial_inputs(space: SearchSpace) -> Inputs:
    """The image sets and weights that trials of ``space`` read."""
    return Inputs.of([space.config(flat, epochs=1) for flat in _all(space)])


def _all(space: SearchSpace) -> list[dict[str, Any]]:
    """The prior, and if fields that decide what a trial reads are searched, every choice."""
    searched = any(path.startswith(READ) for path in space.parameters)
    return [space.prior(), *(boundary_configs(space) if searched else ())]


def check_data(space: SearchSpace) -> None:
    """Raise :class:`ConfigError` if images or weights that trials would read are missing.

    If they are searched, every choice is looked at. If the objective asks for MS-SSIM, the images
    must allow it: not every set does.
    """
    prior = space.config(space.prior(), epochs=1)
    check_inputs(prior)
    objective = space.objective
    metrics = {objective.metric, *objective.pareto, *objective.constraints}
    images = run_images(prior.data).val
    if MS_SSIM in metrics and not scores_ms_ssim(images):
        raise ConfigError(
            f"objective: {MS_SSIM} cannot be computed for data.val '{images.name}': it takes"
            " the package pytorch-msssim and images of 161 pixels or more on every side"
        )
    if not any(path.startswith(READ) for path in space.parameters):
        return
    seen = {_inputs(prior)}
    for flat in boundary_configs(space):
        config = space.config(flat, epochs=1)
        if _inputs(config) not in seen:
            seen.add(_inputs(config))
            try:
                check_inputs(config)
            except ConfigError as error:
                values = space.values(flat)
                read = [f"{path} = {values[path]}" for path in values if path.startswith(READ)]
                raise ConfigError(f"parameters: with {', '.join(read)}: {error}") from None


def _inputs(config: TrainConfig) -> tuple[object, ...]:
    """What :func:`hpcm.check_inputs` looks at."""
    return config.data, config.model, config.start_from


def _fits(cpu: float, gpu: float, node: Mapping[str, float]) -> int:
    counts = [node.get("CPU", 0.0) / cpu]
    if gpu:
        counts.append(node.get("GPU", 0.0) / gpu)
    return int(min(counts) + EPS)
