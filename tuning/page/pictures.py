"""What baseline, prior and best make of two photographs, side by side.

The middle of each validation image, 256 pixels a side, goes through the codecs as an image of its
own, so the cost does not depend on the images; rates and PSNR are of this crop. Every run is at the
trials' own lmbda, with its last weights. At most eight pictures, without loss. A report makes them
once and keeps them in the experiment's folder, where the live page finds them.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from hpcm.atomic_files import write_atomically
from hpcm.evaluation.image_sets import SkippedItem
from hpcm.evaluation.run_images import run_images
from hpcm.files import read_json
from hpcm.schema import ConfigError
from tuning.checkpoints.store import CheckpointStore
from tuning.ledger.folders import command_text, read_provenance
from tuning.ledger.records import TrialRecord
from tuning.results.outcome import ExperimentResult

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]  # (H, W, 3)

FILE = "pictures.json"  # of an experiment
PHOTOGRAPHS = 2
SIDE = 256  # pixels


def pictures_data(result: ExperimentResult) -> dict[str, Any]:
    """``photographs``, each with its pictures, and else ``nothing``: why there are none."""
    found = kept_pictures(result)
    if found["photographs"] or not result.info.space.ranks_trials or result.info.simulated:
        return found
    try:
        photographs = _photographs(result)
    except (ConfigError, OSError) as error:
        return {"photographs": [], "nothing": f"no pictures: {error}"}
    record = {"runs": _runs(result), "photographs": photographs}
    with suppress(OSError):  # a folder that is only read: the next report makes them again
        write_atomically(result.info.directory / FILE, json.dumps(record).encode())
    return {"photographs": photographs, "nothing": ""}


def kept_pictures(result: ExperimentResult) -> dict[str, Any]:
    """The same without any work: those of the last report, if it compared these runs."""
    path, making = result.info.directory / FILE, ""
    if result.complete and compared_runs(result) and not result.info.simulated:
        making = f"{command_text('python -m tuning report', result.info.directory)} makes pictures"
    try:
        kept = read_json(path) if path.is_file() else {}
    except ConfigError:
        kept = {}
    if not isinstance(kept, dict) or kept.get("runs") != _runs(result):
        return {"photographs": [], "nothing": making}
    return {"photographs": kept.get("photographs", []), "nothing": ""}


def _runs(result: ExperimentResult) -> list[list[Any]]:
    """What tells the compared runs from others."""
    return [[name, run.id, run.epochs] for name, run in compared_runs(result)]


def compared_runs(result: ExperimentResult) -> list[tuple[str, TrialRecord]]:
    """Baseline, prior and best, with their names, as far as they came to the end."""
    named = [("baseline", result.baseline), ("the prior", result.prior)]
    if result.best is not None and not result.best.is_prior:
        named.append((f"the best, trial {result.best.number}", result.best))
    return [(name, run) for name, run in named if run is not None and run.state == "finished"]


def _photographs(result: ExperimentResult) -> list[dict[str, Any]]:
    """Raises :class:`ConfigError` or OSError if images or checkpoints are gone."""
    space, runs = result.info.space, compared_runs(result)
    if not runs:
        raise ConfigError("no run that is compared has come to its end")
    with ExitStack() as stack:
        place = read_provenance(result.info.directory).get("checkpoints")
        folders = [
            stack.enter_context(
                CheckpointStore(result.info.directory, space.trial_name(run.number), place).newest()
            )
            for _, run in runs
        ]
        from hpcm.commands.trained_model import load_model  # torch takes seconds

        crops = dict(_crops(result))
        shown = {name: [_picture("original", crop, "")] for name, crop in crops.items()}
        for (called, _), folder in zip(runs, folders, strict=True):
            model, _ = load_model(folder, None)
            for name, crop in crops.items():
                shown[name].append(_coded(called, model, crop))
    return [{"name": name, "pictures": pictures} for name, pictures in shown.items()]


def _crops(result: ExperimentResult) -> Iterator[tuple[str, Pixels]]:
    """The middle of the first validation images."""
    space = result.info.space
    for item in run_images(space.config(space.prior()).data).val.items[:PHOTOGRAPHS]:
        pixels = item.read()
        if isinstance(pixels, SkippedItem):
            raise ConfigError(f"{item.path}: cannot be read as an image: {pixels.reason}")
        top, left = (max(0, (side - SIDE) // 2) for side in pixels.shape[:2])
        yield item.name, pixels[top : top + SIDE, left : left + SIDE]


def _coded(called: str, model: Any, crop: Pixels) -> dict[str, str]:
    """One codec's picture of a crop, with its rate and PSNR."""
    from hpcm.evaluation.inspection import inspect_image

    found = inspect_image(model, crop)
    caption = f"{sum(found.bpp.values()):.3f} bpp, {found.psnr:.2f} dB"
    return _picture(called, found.reconstruction, caption)


def _picture(called: str, pixels: Pixels, caption: str) -> dict[str, str]:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    text = base64.b64encode(file.getvalue()).decode()
    return {"name": called, "caption": caption, "source": f"data:image/png;base64,{text}"}
