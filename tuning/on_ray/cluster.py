"""Ray, started here or joined: loopback only on one machine, quiet, with its dashboard."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import ray

from tuning.ledger.records import LOCAL
from tuning.on_ray import private_api
from tuning.on_ray.profiles import connect
from tuning.spaces.refusals import NotNowError

#: What Ray reads from the environment, in this process and in those that it starts.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the console is ours
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a missing metric fails its trial, not the search
    "TUNE_GLOBAL_CHECKPOINT_S": "60",  # each copies the logs of all trials; Ray's 10 are too few
    "TUNE_RESULT_BUFFER_LENGTH": "1",  # a trial would train on before a decision is heard
    "TUNE_WARN_THRESHOLD_S": "10",
}
#: Names of older versions of Ray, which this one refuses with an exception amid the search.
OBSOLETE = ("TUNE_RESULT_DIR", "RAY_AIR_LOCAL_CACHE_DIR")
#: Where runs look for images and weights.
FOLDERS = ("HPCM_DATA", "HPCM_CHECKPOINTS")


@dataclass(frozen=True)
class Cluster:
    """The Ray cluster that this process is connected to."""

    address: str  # "local", or as given
    dashboard_url: str | None
    token_hint: str | None
    resources: dict[str, float]


@contextlib.contextmanager
def cluster(address: str | None, dashboard: bool = True) -> Iterator[Cluster]:
    """Connect to Ray at ``address`` or ``RAY_ADDRESS``, else start it here and stop it at the end.

    A connection that this process already has is used, and stays open. Raises
    :class:`hpcm.schema.ConfigError` if no cluster answers.
    """
    os.environ.update(ENVIRONMENT | private_api.ENVIRONMENT)
    for name in OBSOLETE:
        os.environ.pop(name, None)
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    mine = not ray.is_initialized()
    here = mine and address == LOCAL
    if mine:
        private_api.make_token_private(create=here)
    if here:
        _start_here(dashboard)
    elif mine:
        connect(address)
    keep_out = private_api.keys_kept_out_of_the_runtime_environment
    for name in ("ray.tune", "ray.air", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with keep_out() if here else contextlib.nullcontext():
            yield _describe(address)
    finally:
        if mine:
            ray.shutdown()


def _start_here(dashboard: bool) -> None:
    for name in FOLDERS:
        if os.environ.get(name):  # trials run in folders of their own
            os.environ[name] = os.path.abspath(os.path.expanduser(os.environ[name]))
    with warnings.catch_warnings(), private_api.loopback_and_own_groups():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            ray.init(
                address=LOCAL,
                include_dashboard=dashboard,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            raise NotNowError(
                "Ray did not start on this machine within its half a minute; the machine may be"
                " busy or short of memory: wait, and start again"
            ) from None


def _describe(address: str) -> Cluster:
    node = getattr(ray.get_runtime_context().worker, "node", None)
    dashboard_url = f"http://{node.webui_url}" if node and node.webui_url else None
    protected = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
    return Cluster(
        address=address,
        dashboard_url=dashboard_url,
        token_hint="ray get-auth-token" if dashboard_url and protected else None,
        resources={k: float(v) for k, v in ray.cluster_resources().items()},
    )
