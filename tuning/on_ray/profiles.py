"""Which profile of a search space runs here, and why: the first line printed and recorded."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Any

import ray
import torch

import hpcm
from hpcm.schema import ConfigError
from tuning.on_ray import private_api
from tuning.on_ray.autoscaling import autoscaling
from tuning.spaces.documents import AUTO
from tuning.spaces.profile_choice import ProfileChoice
from tuning.spaces.refusals import NotNowError

THIS_MACHINES = "auto"  # as an address: the cluster that this machine is part of
SECONDS_TO_ANSWER = 10.0


def choose_profile(asked: str, address: str | None, offered: Collection[str]) -> ProfileChoice:
    """``asked``, or for "auto": cluster if Ray has or may scale to a GPU, else laptop.

    A space that does not offer it is taken as it is written, which is its profile cluster.
    ``address`` is the cluster's, or None for this machine (then Ray is not started). Raises
    :class:`ConfigError` if no cluster answers at the address.
    """
    choice = _choose(asked, address)
    if asked == AUTO and choice.name not in offered:
        reason = f"{choice.reason}, but the space has no profile {choice.name}"
        return ProfileChoice("cluster", reason)
    return choice


def _choose(asked: str, address: str | None) -> ProfileChoice:
    address = address or os.environ.get("RAY_ADDRESS") or None
    local = address in (None, "local")
    if not local and address != THIS_MACHINES and not is_address(str(address)):
        raise ConfigError(_refusal(str(address), "not an address"))
    if asked != AUTO:
        return ProfileChoice(asked, "asked for with --profile")
    if address is None or local:
        gpus = torch.cuda.device_count()
        return _by_count(gpus, "this machine has", "no GPU on this machine")
    connect(address)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus:
        return _by_count(gpus, f"the Ray cluster at {address} has", "")
    may = autoscaling().gpus
    return _by_count(
        may,
        f"the Ray cluster at {address} may scale to",
        f"the Ray cluster at {address} has no GPU and its autoscaler may start none",
    )


def joined() -> bool:
    """Whether this process is part of a Ray cluster already."""
    return bool(ray.is_initialized())


def connect(address: str) -> None:
    """Join the Ray cluster at ``address``, once. Raises :class:`NotNowError` if none answers."""
    if ray.is_initialized():
        return
    try:
        _check_port(address)
        ray.init(
            address=address,
            runtime_env=code_for_workers(),
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        kind = ConfigError if isinstance(error, ValueError) else NotNowError
        raise kind(_refusal(address, reason) + _about_tokens()) from None


def _refusal(address: str, reason: str) -> str:
    given = "RAY_ADDRESS" if address == os.environ.get("RAY_ADDRESS") else "--address"
    return (
        f"{given} {address}: no Ray cluster answers there: {reason}; "
        "allowed: HOST:PORT of a head, auto, or leave it out for this machine"
    )


def code_for_workers() -> dict[str, Any]:
    """This project's packages, for workers that lack them; a submitted job has brought its own."""
    if private_api.in_a_submitted_job():
        return {}
    return {"py_modules": [str(Path(hpcm.__file__).parent), str(Path(__file__).parents[1])]}


def _about_tokens() -> str:
    """A hint if this process shows no token: a head that needs one refuses it without a word."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "token":
        return ""
    return ". If the cluster asks for a token: export RAY_AUTH_MODE=token"


def _check_port(address: str) -> None:
    """Raise OSError if nothing listens: Ray itself would try for minutes.

    Raises ValueError for what is no address at all.
    """
    if address != THIS_MACHINES and not is_address(address):
        raise ValueError("not an address")
    found = private_api.bootstrap_address(address)
    host, _, port = found.rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()


def is_address(text: str) -> bool:
    """Whether ``text`` has the form of HOST:PORT; Ray would wait for a port that cannot be."""
    found = re.fullmatch(r"[^\s:/]+:(\d{1,5})", text) or re.fullmatch(
        r"\[[^\s/]+\]:(\d{1,5})", text
    )
    return found is not None and 0 < int(found[1]) < 2**16


def _by_count(gpus: int, having: str, without: str) -> ProfileChoice:
    if gpus:
        return ProfileChoice("cluster", f"{having} {gpus} GPU{'s' if gpus > 1 else ''}")
    return ProfileChoice("laptop", without)
