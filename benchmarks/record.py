"""Where a benchmark's numbers go: one JSON per benchmark and device, with what made them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent.parent / "results" / "bench"


def write_record(name: str, device: str, numbers: dict[str, Any]) -> Path:
    """Write ``results/bench/<name>-<device kind>.json`` and say so."""
    kind = torch.device(device).type
    record = {
        "benchmark": name,
        "date": date.today().isoformat(),
        "device": device_name(kind),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "commit": commit(),
        **numbers,
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}-{kind}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"written: {path.relative_to(FOLDER.parent.parent)}")
    return path


def device_name(kind: str) -> str:
    """The GPU's name, or the processor's and its cores."""
    if kind == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def commit() -> str:
    """The commit the numbers belong to, with ``+`` if the tree had changes."""
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"],
            cwd=FOLDER.parent.parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip()
