"""The RayCluster that the pod of this process belongs to, as Kubernetes has it.

KubeRay's autoscaler is a container of its own in the head's pod: it keeps no file that others could
read and tells Ray nothing of what it may start. But KubeRay lets the head's pod read its own
RayCluster if it autoscales, and Ray's autoscaler turns that into the form of a cluster file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import requests

from hpcm.schema import ConfigError
from tuning.on_ray import private_api

CLUSTER, NAMESPACE = "RAY_CLUSTER_NAME", "RAY_CLUSTER_NAMESPACE"  # set by KubeRay in every pod
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
NOT_ALLOWED = (401, 403, 404)


def cluster_file() -> dict[str, Any] | None:
    """The node types in the form of a cluster file; None if this cluster does not autoscale.

    Raises :class:`ConfigError` if Kubernetes does not answer.
    """
    name = os.environ[CLUSTER]
    try:
        namespace = os.environ.get(NAMESPACE) or NAMESPACE_FILE.read_text().strip()
        cluster = private_api.kubernetes(namespace).get(f"rayclusters/{name}")
    except FileNotFoundError:  # no service account: nobody autoscales from this pod
        return None
    except requests.HTTPError as error:
        if error.response is not None and error.response.status_code in NOT_ALLOWED:
            return None
        raise _silent(name, error) from None
    except requests.RequestException as error:
        raise _silent(name, error) from None
    if not cluster["spec"].get("enableInTreeAutoscaling"):
        return None
    return private_api.ray_cluster_file(cluster)


def _silent(name: str, error: Exception) -> ConfigError:
    return ConfigError(f"Kubernetes does not say what RayCluster {name} may start: {error}")
