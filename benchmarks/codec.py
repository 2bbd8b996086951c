"""Coding beside a forward pass and a plain codec; where exact and portable streams decode.

    python -m benchmarks codec --model hpcm_base --rounds 3

Weights and images are those of `tests.reference.fill_weights`: a random network with latents of
realistic sizes. Times are ratios to one forward pass, each the best of the rounds, in which all
take turns; the straightforward codec (`benchmarks.plain_codec`) must write the same bytes. Decoding
is tried with another thread count, without oneDNN, in float64 and, if there is one, on a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.plain_codec import plain_decode, plain_encode
from benchmarks.record import write_record
from hpcm import build_model
from hpcm.model.bitstream import BitstreamError
from hpcm.model.codec import CodedImage, decode_image, encode_image
from hpcm.model.file_codec import threads
from hpcm.model.hpcm import HPCM
from tests.reference.fill_weights import fill_model, formula_image


def main(arguments: list[str]) -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks codec")
    parser.add_argument("--model", default="hpcm_tiny")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    model = fill_model(build_model(options.model), seed=1).eval()
    model.update()
    pictures = (formula_image(options.size, options.size, seed) for seed in range(options.images))
    images = [torch.from_numpy(p).permute(2, 0, 1)[None].float() / 255 for p in pictures]
    numbers = {"options": vars(options), **speed(model, images[0], options.rounds)}
    numbers["decoded"] = portability(model, images)
    for name, value in numbers.items():
        print(f"{name}: {value}")
    write_record(f"codec-{options.model}", "cpu", numbers)


def speed(model: HPCM, x: Tensor, rounds: int) -> dict[str, float]:
    """Seconds of a forward pass, coding relative to it, and the straightforward codec to ours."""
    coded = encode_image(model, x)
    same_bytes = plain_encode(model, x) == (coded.y, coded.z)
    same_image = torch.equal(
        plain_decode(model, coded.y, coded.z, coded.shape), decode_image(model, coded)
    )
    if not (same_bytes and same_image):
        raise AssertionError("the straightforward codec writes other bytes or another image")
    work: dict[str, Callable[[], Any]] = {
        "forward": lambda: model(x),
        "encode": lambda: encode_image(model, x),
        "decode": lambda: decode_image(model, coded),
        "plain encode": lambda: plain_encode(model, x),
        "plain decode": lambda: plain_decode(model, coded.y, coded.z, coded.shape),
    }
    best = dict.fromkeys(work, float("inf"))
    with torch.no_grad():
        for _ in range(rounds):
            for name, run in work.items():
                started = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - started)
    forward, pixels = best["forward"], x.shape[-2] * x.shape[-1]
    return {
        "forward_seconds": forward,
        "encode_pixels_per_second": pixels / best["encode"],
        "decode_pixels_per_second": pixels / best["decode"],
        "encode_over_forward": best["encode"] / forward,
        "decode_over_forward": best["decode"] / forward,
        "plain_encode_over_encode": best["plain encode"] / best["encode"],
        "plain_decode_over_decode": best["plain decode"] / best["decode"],
    }


def portability(model: HPCM, images: list[Tensor]) -> dict[str, Any]:
    """Of each kind of stream, how many images each other machine decodes, and their bytes."""
    found: dict[str, Any] = {}
    for portable in (False, True):
        coded = [encode_image(model, x, portable) for x in images]
        name = "portable" if portable else "exact"
        found[name] = {
            setting: sum(_decodes(model, c, enter) for c in coded) for setting, enter in others()
        }
        found[name]["bytes"] = sum(len(c.y) + len(c.z) + len(c.corrections or b"") for c in coded)
    return found


def others() -> Iterator[tuple[str, Callable[[HPCM], Any]]]:
    """Stand-ins for other machines: contexts in which a model rounds differently."""
    yield "same", lambda model: contextlib.nullcontext()
    count = 1 if torch.get_num_threads() > 1 else 2
    yield f"{count} threads", lambda model: threads(count)
    yield "no oneDNN", lambda model: torch.backends.mkldnn.flags(enabled=False)
    yield "float64", lambda model: _moved(model, torch.float64)
    if torch.cuda.is_available():
        yield torch.cuda.get_device_name(), lambda model: _moved(model, "cuda")


@contextlib.contextmanager
def _moved(model: HPCM, device: Any) -> Iterator[None]:
    model.to(device)
    try:
        yield
    finally:
        model.to("cpu", torch.float32)


def _decodes(model: HPCM, coded: CodedImage, enter: Callable[[HPCM], Any]) -> bool:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN")
        with enter(model):
            try:
                decode_image(model, coded)
            except BitstreamError:
                return False
    return True
