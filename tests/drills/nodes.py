"""Several Ray nodes on this machine, on loopback, with GPUs that exist only in Ray's books."""

from __future__ import annotations

import gc
import os
import signal
import socket
import tempfile
import time
import warnings

import psutil
from ray._private import services
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray.experimental.internal_kv import _internal_kv_reset

MEMORY = 80 * 1024 * 1024  # of the object store, bytes; nothing is put there


class Nodes:
    """A head without GPUs, and workers of one GPU and one CPU each."""

    def __init__(self) -> None:
        self._temp = tempfile.TemporaryDirectory(prefix="d", ignore_cleanup_errors=True)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.head: Node | None = None
        self.workers: list[Node] = []

    def start_head(self) -> None:
        """On the same port, also after its death."""
        self.head = started(
            self._params(
                num_cpus=1,
                num_gpus=0,
                gcs_server_port=self.port,
                dashboard_port=free_port(),  # taken although there is none
                no_monitor=True,
            ),
            head=True,
        )

    def add_worker(self, gpus: int = 1) -> Node:
        """A node that has joined when this returns."""
        node = started(
            self._params(
                num_cpus=1,
                num_gpus=gpus,
                gcs_address=self.address,
                include_log_monitor=False,
                node_manager_port=0,
            ),
            head=False,
        )
        services.wait_for_node(node.gcs_address, node.plasma_store_socket_name, 60)
        self.workers.append(node)
        return node

    def node_of(self, pid: int) -> Node:
        """The worker node on which this process runs."""
        raylet = psutil.Process(pid).ppid()
        return next(node for node in self.workers if raylet_pid(node) == raylet)

    def kill_worker(self, node: Node) -> float:
        """SIGKILL to its raylet; its trials die with it. When."""
        now = time.time()
        family = psutil.Process(raylet_pid(node)).children(recursive=True)
        node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        for process in psutil.wait_procs(family, timeout=10)[1]:
            process.kill()
        self.workers.remove(node)
        return now

    def kill_head(self) -> float:
        """SIGKILL to the head's server of the cluster's state and to its raylet. When."""
        assert self.head is not None
        now = time.time()
        os.kill(self.head.all_processes["gcs_server"][0].process.pid, signal.SIGKILL)
        self.head.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        self.head = None
        return now

    def stop(self) -> None:
        """All of them."""
        for node in (*self.workers, *filter(None, [self.head])):
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        self.workers, self.head = [], None
        self._temp.cleanup()

    def _params(self, **given: object) -> RayParams:
        return RayParams(
            temp_dir=self._temp.name,
            node_ip_address="127.0.0.1",
            include_dashboard=False,
            object_store_memory=MEMORY,
            min_worker_port=0,
            max_worker_port=0,
            dashboard_agent_listen_port=0,
            **given,
        )


def started(params: RayParams, head: bool) -> Node:
    """A node of Ray; the sockets with which it looks for free ports it leaves to the collector.

    A head's store of keys becomes that of this process: Tune's classes note their use there, and a
    minute without the answer of a head that was stopped ends the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        node = Node(params, head=head, shutdown_at_exit=True)
        gc.collect()
    _internal_kv_reset()
    return node


def raylet_pid(node: Node) -> int:
    """The process whose children are the node's workers."""
    pid: int = node.all_processes["raylet"][0].process.pid
    return pid


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
