"""``train CONFIG``: one run, a line per epoch, checkpoints that a kill does not harm.

Of several processes, which torchrun starts, the first one reads, prints and writes.
"""

from __future__ import annotations

import argparse
import shlex
import sys

import torch

from hpcm import Diverged, EpochReport, TrainConfig, ranks, torchrun, train
from hpcm.commands.arguments import device_name
from hpcm.commands.loggers import loggers
from hpcm.commands.run_folder import RunFolder
from hpcm.ranks import RankLostError
from hpcm.training.precision import settle
from hpcm.training.processes import follow, group_of_torchrun, leading

SHOWN = (  # metric, heading, format
    ("val_rd_cost", "rd_cost", ".6f"),
    ("val_rd_cost_se", "se", ".3f"),
    ("val_bpp", "bpp", ".6f"),
    ("val_psnr", "psnr", ".4f"),
    ("train/loss", "train loss", ".6f"),
    ("train/lr", "lr", ".2e"),
    ("train/seconds", "s", ".1f"),
)


def run(arguments: argparse.Namespace) -> int:
    """Train; see the module."""
    device = device_name(arguments.device)
    with group_of_torchrun(device):
        return _lead(arguments, device) if ranks.own() == 0 else _follow()


def _lead(arguments: argparse.Namespace, device: str) -> int:
    overrides = list(arguments.set)
    if arguments.epochs is not None:
        overrides.append(f"epochs={arguments.epochs}")
    cfg = TrainConfig.from_yaml(arguments.config, overrides)
    place = RunFolder.to_resume if arguments.resume else RunFolder.fresh
    folder = place(arguments.config, arguments.output)
    checkpoint = folder.checkpoint()
    reports = leading(train)(cfg, resume=checkpoint, device=device)
    folder.start(cfg, checkpoint)
    where = device if ranks.count() == 1 else f"{ranks.count()} x {device}"
    how = f"continued from {checkpoint.name}" if checkpoint else "new"
    print(f"{folder.path}: {how}; {cfg.model.name} on {where}; config {cfg.digest}", flush=True)
    if cfg.precision.preset == "auto":
        print(f"precision: {settle(cfg, torch.device(device))}", flush=True)
    saved = checkpoint.name if checkpoint else None
    try:
        with loggers(arguments.log, folder.path, cfg, folder.metrics()) as log:
            for report in reports:
                folder.record(report)
                log(report.metrics)
                print(line(report, cfg.epochs), flush=True)
                if report.epoch % arguments.save_every == 0 or report.last:
                    folder.save(report)
                    saved = f"epoch {report.epoch}"
    except (KeyboardInterrupt, Diverged, OSError):
        print(f"stopped; {_how_to_go_on(arguments, folder, saved)}", file=sys.stderr)
        raise
    print(f"finished; checkpoint {folder.checkpoint()}", flush=True)
    return 0


def _follow() -> int:
    """Take part; how it went is said by the first process."""
    try:
        follow()
    except RankLostError:
        return 1
    except Diverged:
        return 3
    except KeyboardInterrupt:
        return 130
    return 0


def line(report: EpochReport, epochs: int) -> str:
    """One epoch as one line; without validation values if it had none."""
    shown = [
        f"{heading} {report.metrics[key]:{style}}"
        for key, heading, style in SHOWN
        if key in report.metrics
    ]
    return "  ".join([f"epoch {report.epoch:{len(str(epochs))}}/{epochs}", *shown])


def _how_to_go_on(arguments: argparse.Namespace, folder: RunFolder, saved: str | None) -> str:
    if saved is None:
        return "no checkpoint yet"
    words = ["python", "-m", "hpcm", "train", str(arguments.config)]
    if ranks.count() > 1:
        words[0:1] = ["torchrun", "--nproc-per-node", str(torchrun.processes_here())]
    words += ["--set", *arguments.set] if arguments.set else []
    words += ["--epochs", str(arguments.epochs)] if arguments.epochs is not None else []
    words += ["--log", *arguments.log] if arguments.log else []
    words += ["--import", *map(str, arguments.imports)] if arguments.imports else []
    words += ["--output", str(folder.path), "--resume"]
    return f"checkpoint of {saved}; to continue: {shlex.join(words)}"
