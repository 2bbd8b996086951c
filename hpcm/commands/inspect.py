"""``inspect CHECKPOINT IMAGES``: pictures of where the bits go and where the error stays."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from hpcm import ConfigError
from hpcm.commands.arguments import check_folder, device_name, images_at
from hpcm.commands.flags import INSPECTED
from hpcm.commands.trained_model import load_model
from hpcm.evaluation.contact_sheet import brightest, contact_sheet, pictures
from hpcm.evaluation.inspection import Inspection, inspect_images
from hpcm.evaluation.results import written
from hpcm.evaluation.spectrum_plot import save_spectra


def run(arguments: argparse.Namespace) -> int:
    """Write a contact sheet, its pictures one by one, spectra and numbers; see the module."""
    folder = arguments.output
    check_folder(folder, f"--output {folder}")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"--output {folder}: holds files already; name a new folder")
    device = device_name(arguments.device)
    images = images_at(arguments.images)
    model, source = load_model(arguments.checkpoint, arguments.model)
    inspections = inspect_images(model.to(device), images, INSPECTED)
    for name, one in inspections.items():
        parts = "  ".join(f"{part} {rate:.4f}" for part, rate in one.bpp.items())
        print(f"{name}: {one.psnr:.2f} dB  bpp {sum(one.bpp.values()):.4f}  {parts}")
    _write(folder, inspections, source)
    if images.count > INSPECTED:
        text = f"{INSPECTED} of {images.count} images"
        print(f"{text}; for others, put them into a folder of their own")
    print(f"written {folder / 'contact_sheet.png'}")
    return 0


def _write(folder: Path, inspections: Mapping[str, Inspection], source: dict[str, Any]) -> None:
    mse = source.get("metric", "mse") == "mse"
    lmbda = source.get("lmbda") if mse else None
    known = ("model", "weights", "config_digest", "metric", "lmbda", "epoch", "seed")
    title = ", ".join(f"{key} {source[key]}" for key in known if source.get(key) is not None)
    tops = brightest(list(inspections.values()))
    with written(folder / "contact_sheet.png") as sheet:
        Image.fromarray(contact_sheet(inspections, title, lmbda=lmbda)).save(sheet)
    for number, (name, one) in enumerate(inspections.items(), 1):
        stem = f"{number:02d}-{Path(name).stem}"
        for kind, picture in pictures(one, tops).items():
            with written(folder / f"{stem}.{kind}.png") as path:
                Image.fromarray(picture).save(path)
    numbers = {
        "source": source,
        "lightest_colour": tops,
        "images": [_numbers(name, one) for name, one in inspections.items()],
    }
    with written(folder / "inspection.json") as path:
        path.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    save_spectra(folder / "spectra.png", list(inspections.values()))


def _numbers(name: str, one: Inspection) -> dict[str, Any]:
    return {
        "image": name,
        "width": one.image.shape[1],
        "height": one.image.shape[0],
        "psnr-rgb": one.psnr if math.isfinite(one.psnr) else None,
        "bpp": sum(one.bpp.values()),
        **{f"bpp-{part}": rate for part, rate in one.bpp.items()},
        "bpp-padding": one.padding_bpp,
        **{f"mse-{kind}": value for kind, value in one.mse.items()},
        "spectra": {
            kind: {"frequency": found.frequency.tolist(), "power": found.power.tolist()}
            for kind, found in one.spectra.items()
        },
    }
