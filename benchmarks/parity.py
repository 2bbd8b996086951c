"""Whether a device computes what a CPU does: scores, one training step, and bitstreams.

    python -m benchmarks parity --device cuda

The CPU's own numbers are held by the golden vectors of the tests. Prints the largest differences,
exits with 1 if one is above its bound, and writes ``results/bench/parity-<device>.json``.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.record import write_record
from hpcm import TrainConfig
from hpcm.evaluation.image_sets import image_set
from hpcm.evaluation.validation import to_tensor
from hpcm.losses import rate_distortion
from hpcm.model import build_model
from hpcm.model.bitstream import BitstreamError
from hpcm.model.checkpoint import load_weights, read_weights
from hpcm.model.file_codec import FileCodec
from hpcm.training.inputs import start_weights
from hpcm.training.run import Run
from hpcm.training.step import Stepper

LMBDA = 0.0016
#: The largest relative difference that rounding in float32 explains, ten times over.
BOUNDS = {"bpp": 1e-3, "mse": 1e-3, "loss of a step": 1e-3, "weights after a step": 1e-3}


def main(arguments: list[str]) -> None:
    """Compare, print, record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks parity")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    device = parser.parse_args(arguments).device
    torch.backends.cudnn.allow_tf32 = False  # a CPU has none
    found = {"differences": differences(device), "streams": streams(device)}
    for name, value in found["differences"].items():
        print(f"{name:24s} {value:.2e}, at most {BOUNDS[name]:.0e}")
    for name, said in found["streams"].items():
        print(f"{name}: {said}")
    write_record("parity", device, found)
    far = [name for name, value in found["differences"].items() if not value <= BOUNDS[name]]
    wrong = [name for name, said in found["streams"].items() if said.startswith("WRONG")]
    if far or wrong:
        raise SystemExit(f"not equal: {', '.join(far + wrong)}")


def differences(device: str) -> dict[str, float]:
    """Relative differences between the device and a CPU, of the sample codec and photographs."""
    x = picture()
    scores = [_scores(codec(place), x.to(place)) for place in ("cpu", device)]
    steps = [_step(place, x) for place in ("cpu", device)]
    return {
        **{name: _relative(scores[1][name], scores[0][name]) for name in scores[0]},
        "loss of a step": _relative(steps[1][0], steps[0][0]),
        "weights after a step": (steps[1][1] - steps[0][1]).norm().item() / steps[0][2],
    }


def streams(device: str) -> dict[str, str]:
    """What becomes of files that one side wrote and the other reads; WRONG begins what is bad."""
    x = picture()[0]
    sides = {
        place: FileCodec(codec(place), "hpcm_tiny") for place in dict.fromkeys(("cpu", device))
    }
    found = {}
    for writer, coder in sides.items():
        for portable in (True, False):
            data = coder.compress(x.to(writer), portable)
            own = coder.decompress(data).cpu()
            for reader, decoder in sides.items():
                kind = "portable" if portable else "exact"
                name = f"{kind}, {writer} to {reader}"
                found[name] = _read(decoder, data, own, refusable=not portable)
    return found


def _read(decoder: FileCodec, data: bytes, own: Tensor, refusable: bool) -> str:
    try:
        image = decoder.decompress(data).cpu()
    except BitstreamError as error:
        return f"refused: {error}" if refusable else f"WRONG: refused: {error}"
    far = (image - own).abs().max().item()
    return f"decoded, differs by {far:.1e}" if far < 1e-3 else f"WRONG: differs by {far:.1e}"


def codec(device: str) -> Any:
    """The sample codec of one lmbda, in evaluation mode."""
    cfg = TrainConfig.from_plain({"model": {"name": "hpcm_tiny"}}, "parity")
    model = build_model(cfg.model)
    load_weights(model, read_weights(start_weights("sample", LMBDA)), "sample")
    return model.eval().to(device)


def picture() -> Tensor:
    """256 x 256 pixels of a photograph, (1, 3, 256, 256), float32 in [0, 1]."""
    pixels = image_set("sample_val").items[0].read((128, 64, 384, 320))
    assert not hasattr(pixels, "reason"), pixels
    return to_tensor(pixels)[None].float() / 255  # type: ignore[arg-type]


def _scores(model: nn.Module, x: Tensor) -> dict[str, float]:
    with torch.no_grad():
        terms = rate_distortion(model(x), x)
    return {"bpp": terms.bpp.item(), "mse": terms.mse.item()}


def _step(device: str, x: Tensor) -> tuple[float, Tensor, float]:
    """The loss of a training step, the weights after it, and how far it moved them."""
    plain = {"model": {"name": "hpcm_tiny"}, "optimizer": {"lr": 1e-4, "eps": 1e-3}}
    run = Run.build(TrainConfig.from_plain(plain, "parity"), codec(device), device)
    run.apply_config()
    run.model.train()
    before = _flat(run.model)
    stepper = Stepper(run)
    stepper.step(x.to(device), 0.0)
    after = _flat(run.model)
    return stepper.read()[0]["train/loss"], after, (after - before).norm().item()


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().cpu().double().flatten() for p in model.parameters()])


def _relative(value: float, expected: float) -> float:
    return abs(value - expected) / abs(expected)
