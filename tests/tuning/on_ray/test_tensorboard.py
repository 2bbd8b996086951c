"""What a search writes for TensorBoard, without a search."""

from __future__ import annotations

import struct
from pathlib import Path

from ray.tune.logger import TBXLoggerCallback
from ray.tune.utils.callback import _create_default_callbacks
from tensorboardX.proto.event_pb2 import Event

from tests.tuning.searches import report
from tuning.on_ray.tensorboard import TensorBoardCallback


class OneTrial:
    """What the logger asks of one of Ray's trials."""

    evaluated_params = {"lr": 1e-4}

    def __init__(self, folder: Path) -> None:
        self.local_path = str(folder)

    def init_local_path(self) -> None:
        """It is there."""


RAYS = {"done": False, "training_iteration": 1, "time_total_s": 9.0, "time_this_iter_s": 9.0}


def cards(folder: Path) -> dict[str, list[int]]:
    """By the name of a card, the steps that it has."""
    found: dict[str, list[int]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        data, place = file.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack("<Q", data[place : place + 8])
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 16 + length
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append(event.step)
    return found


def test_the_cards_are_the_metrics_over_epochs(tmp_path: Path) -> None:
    """Of a trial that goes on at epoch 4, whose reports Ray counts from 1 again."""
    trial, board = OneTrial(tmp_path), TensorBoardCallback()
    for epoch in (4, 5):
        board.log_trial_result(1, trial, RAYS | {"restored": True} | report(epoch, 1.5))
    board.log_trial_result(2, trial, RAYS | {"failed": "diverged", "diverged": True})
    board.log_trial_end(trial)
    names = ("val_rd_cost", "val_bpp", "val_psnr", "train/seconds", "train/loss")
    shown = {name: steps for name, steps in cards(tmp_path).items() if name.startswith("ray/")}
    steps = {name: [step for step in found if step] for name, found in shown.items()}
    assert steps == {f"ray/tune/{name}": [4, 5] for name in names}


def test_tune_adds_no_other_logger_for_tensorboard() -> None:
    found = _create_default_callbacks([TensorBoardCallback()])
    assert [type(c) for c in found if isinstance(c, TBXLoggerCallback)] == [TensorBoardCallback]
