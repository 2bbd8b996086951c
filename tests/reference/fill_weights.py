"""Formula weights and formula images: the inputs of the recorded HPCM numbers. NumPy only.

Every key of a state dict draws a float64 standard normal array g from its own generator,
``PCG64(crc32(key) xor seed)``, and scales it so that a random network behaves like a trained one:
latents, scales and means have per-channel sizes ("units") from 0.02 to 60, everything between is
of size 1. The rules for a convolution, by what it reads and writes:

    plain            gain * g / sqrt(fan-in) / size of what it reads * spread of what it writes
    in a block       3x3 g / sqrt(fan-in); 1x1 up g * sqrt(2 / fan-in), down 0.3 g / sqrt(fan-in)
    bias             0.1 g * spread (+ centre where the units have one); in a block 0.1, 0.1, 0.05
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

Array = np.ndarray
Shapes = Mapping[str, tuple[int, ...]]

GOLDEN_RATIO = 0.6180339887498949
CONSTANTS = re.compile(
    r"(scale_table|quantized_cdf_[yz]|cdf_length_[yz]|offset_[yz]|entropy_estimation\..*)$"
)


@dataclass(frozen=True)
class Units:
    """Per channel of a tensor: magnitude a reader sees, deviation and mean a writer produces."""

    size: Array
    spread: Array
    centre: Array


def units(latent: int, hyper: int) -> dict[str, Units]:
    """Units of the latent (Y), its scales and means (P), both (C), and the hyper-latent (Z)."""
    scale, amplitude = latent_table(latent)
    none = np.zeros(latent)
    z = hyper_table(hyper)
    y_size, s_size = np.maximum(amplitude, 0.3), np.maximum(scale, 0.3)
    s_spread = np.where(scale < 0.05, 0.08, 0.30 * scale)
    p_size = np.concatenate([s_size, y_size])
    p_spread = np.concatenate([s_spread, 0.3 * amplitude])
    p_centre = np.concatenate([scale, none])
    return {
        "Y": Units(y_size, amplitude, none),
        "P": Units(p_size, p_spread, p_centre),
        "Z": Units(np.maximum(z, 0.3), z, np.zeros(hyper)),
        "C": Units(
            np.concatenate([p_size, y_size]),
            np.concatenate([p_spread, amplitude]),
            np.concatenate([p_centre, none]),
        ),
    }


def latent_table(latent: int) -> tuple[Array, Array]:
    """Target scale and amplitude per latent channel; some below the bound, some at the top."""
    channel = np.arange(latent)
    position = np.mod(channel * GOLDEN_RATIO, 1.0)
    scale = np.round(0.15 * (6.0 / 0.15) ** position, 10)
    amplitude = np.clip(scale, 0.2, 6.0)
    below, top = channel % 10 == 3, channel % 64 == 5
    scale[below], amplitude[below] = 0.02, 0.12
    scale[top], amplitude[top] = 60.0, 6.0
    return scale, amplitude


def hyper_table(hyper: int) -> Array:
    """Prior scale per hyper-latent channel, some below the bound."""
    return np.round(0.08 * (8.0 / 0.08) ** np.mod(np.arange(hyper) * GOLDEN_RATIO, 1.0), 10)


class WeightFill:
    """The rules for one state dict, given as {key: shape}."""

    def __init__(self, shapes: Shapes, seed: int) -> None:
        self.shapes = shapes
        self.seed = seed
        self.latent = shapes["context_net.0.weight"][0] // 2
        self.hyper = shapes["means_hyper"][1]
        self.named = "g_a.g_a_down1.weight" in shapes  # the key layout of hpcm_1b
        self.units = units(self.latent, self.hyper)
        self.plain = list(self._plain_rules())

    def __call__(self, key: str) -> Array:
        """The float32 weights of one key."""
        shape = self.shapes[key]
        bits = np.random.PCG64((zlib.crc32(key.encode("ascii")) ^ self.seed) & 0xFFFFFFFF)
        g = np.random.Generator(bits).standard_normal(int(np.prod(shape))).reshape(shape)
        if key == "means_hyper":
            value = 0.5 * g * self.units["Z"].size.reshape(shape)
        elif key == "scales_hyper":
            value = hyper_table(self.hyper).reshape(shape) * np.round(np.exp(0.15 * g), 10)
        elif key.startswith("adaptive_params_list."):
            value = 1.0 + 0.2 * g
        elif block := self._block(key):
            value = self._in_block(g, *block)
        else:
            value = self._plain(g, key)
        return value.astype(np.float32)

    def _block(self, key: str) -> tuple[str, str, str] | None:
        """(block, layer, kind) where the key belongs to a residual block of four layers."""
        match = re.match(r"(.*)\.branch\.(0\.pconv|0|1|3)\.(weight|bias)$", key)
        if not match:
            return None
        block = match[1]
        layers = {
            int(other[len(block) + 8 :].split(".")[0])
            for other in self.shapes
            if other.startswith(f"{block}.branch.")
        }
        return (block, match[2], match[3]) if layers == {0, 1, 3} else None

    def _in_block(self, g: Array, block: str, layer: str, kind: str) -> Array:
        width = self.shapes[f"{block}.branch.3.weight"][0]
        worked_on = self._units_of_block(block, width)
        tensor = self.units[worked_on] if worked_on else None
        size = tensor.size if tensor else np.ones(width)
        spread = tensor.spread if tensor else np.ones(width)
        first = g.shape[0]
        if kind == "bias":
            factor = {"0": 0.1 * size, "0.pconv": 0.1 * size[:first], "1": 0.1, "3": 0.05 * spread}
            return g * factor[layer]
        if layer == "0":
            return g / 3.0
        if layer == "0.pconv":
            return g / np.sqrt(9.0 * first) * _rows(size[:first]) / _columns(size[:first])
        if layer == "1":
            return g * np.sqrt(2.0 / width) / _columns(size)
        gain = 0.2 if tensor else 0.3
        return gain * g / np.sqrt(g.shape[1]) * _rows(spread)

    def _units_of_block(self, block: str, width: int) -> str | None:
        """Which units the tensor has that a residual block adds to."""
        if block.startswith("h_s."):
            return "P" if width == 2 * self.latent else None
        if block.startswith("h_a."):
            first = range(4) if self.named else range(1)
            return "Y" if int(block.split(".")[-1]) in first else None
        if self.named and block.startswith(("g_a.g_a_chunk4.", "g_s.g_s_chunk4.")):
            return "Y"
        if self.named and block.startswith("y_spatial_prior"):
            return "P" if width == 2 * self.latent else "C"
        return None

    def _plain_rules(self) -> Iterable[tuple[str, str, str, bool, float]]:
        """(pattern of the layer, units read, units written, writes their centre, gain)."""
        ends = self._ends()
        yield ends["g_a"][0], "", "", False, 5.0
        yield ends["g_a"][1], "", "Y", True, 1.0
        yield ends["g_s"][0], "Y", "", False, 1.0
        yield ends["h_a"][0], "Y", "", False, 1.0
        yield ends["h_a"][1], "", "Z", True, 1.0
        yield ends["h_s"][0], "Z", "", False, 1.0
        yield ends["h_s"][1], "", "P", True, 1.0
        yield r"[gh]_[as]\..*", "", "", False, 1.0
        yield r"y_spatial_prior_adaptor_list_.*", "C", "", False, 1.5
        yield r"y_spatial_prior_.*\.branch_2\..*", "C" if self.named else "", "P", True, 1.0
        yield r"context_net\..*", "P", "P", self.named, 1.0
        yield r"attn_.*\.conv_q", "P", "", False, 1.5
        yield r"attn_.*\.conv_k", "P", "", False, 4.0
        yield r"attn_.*", "P", "P", False, 1.0

    def _ends(self) -> dict[str, tuple[str, str]]:
        """First and last strided convolution of each transform."""
        if self.named:
            return {
                "g_a": (r"g_a\.g_a_down1", r"g_a\.g_a_down4"),
                "g_s": (r"g_s\.g_s_up4", r"g_s\.g_s_up1"),
                "h_a": (r"h_a\.4", r"h_a\.14"),
                "h_s": (r"h_s\.0", r"h_s\.10"),
            }
        last = {
            net: max(int(key.split(".")[2]) for key in self.shapes if key.startswith(f"{net}."))
            for net in ("g_a", "g_s", "h_a", "h_s")
        }
        return {
            "g_a": (r"g_a\.branch\.0", rf"g_a\.branch\.{last['g_a']}"),
            "g_s": (r"g_s\.branch\.0", rf"g_s\.branch\.{last['g_s']}"),
            "h_a": (r"h_a\.branch\.1", rf"h_a\.branch\.{last['h_a']}"),
            "h_s": (r"h_s\.branch\.0", rf"h_s\.branch\.{last['h_s'] - 1}"),
        }

    def _plain(self, g: Array, key: str) -> Array:
        layer, kind = key.rsplit(".", 1)
        read, written, centred, gain = next(
            rule[1:] for rule in self.plain if re.fullmatch(rule[0], layer)
        )
        paints = re.fullmatch(self._ends()["g_s"][1], layer) is not None  # writes the image
        sees = re.fullmatch(self._ends()["g_a"][0], layer) is not None  # reads the image
        if kind == "bias":
            if paints:
                return 0.5 + 0.02 * g
            bias = 0.1 * g * (self.units[written].spread if written else np.ones(g.shape[0]))
            return bias + self.units[written].centre if written and centred else bias
        transposed = layer.startswith(("g_s.", "h_s."))  # (in, out, k, k), stride 2
        fan_in = g.shape[0] * g.shape[2] * g.shape[3] / 4.0 if transposed else np.prod(g.shape[1:])
        if sees:  # no answer to a flat image
            g = g - g.mean(axis=(1, 2, 3), keepdims=True)
        weight = gain * g / np.sqrt(fan_in)
        inputs, outputs = (_rows, _columns) if transposed else (_columns, _rows)
        if read:
            weight = weight / inputs(self.units[read].size)
        if written:
            weight = weight * outputs(self.units[written].spread)
        return weight * 0.12 if paints else weight


def _rows(per_channel: Array) -> Array:
    return per_channel[:, None, None, None]


def _columns(per_channel: Array) -> Array:
    return per_channel[None, :, None, None]


def fill(shapes: Shapes, seed: int) -> dict[str, Array]:
    """{key: float32 weights} for all keys but code tables and the entropy model's constants."""
    rule = WeightFill(shapes, seed)
    return {key: rule(key) for key in sorted(shapes) if not CONSTANTS.match(key)}


def fill_model(model: nn.Module, seed: int = 1) -> nn.Module:
    """Fill a model in place, key by key, and return it."""
    state = model.state_dict()
    rule = WeightFill({key: tuple(value.shape) for key, value in state.items()}, seed)
    for key, value in state.items():
        if not CONSTANTS.match(key):
            value.copy_(torch.from_numpy(rule(key)))
    return model


def formula_image(height: int, width: int, seed: int) -> Array:
    """A textured picture, uint8 (height, width, 3): chirp, bars, a slow wave and grain."""
    row, column = np.mgrid[0:height, 0:width].astype(np.float64)
    rng = np.random.Generator(np.random.PCG64((zlib.crc32(b"image") ^ seed) & 0xFFFFFFFF))
    planes = []
    for a, b, phase, pitch, across, downward in rng.random((3, 6)):
        distance = (column - a * width) ** 2 + (row - b * height) ** 2
        squared = distance / float(max(height, width))
        chirp = np.sin(0.35 * squared / 8.0 + 6.0 * phase)
        bars = np.sign(np.sin(column * (0.05 + 0.4 * pitch) + row * 0.11))
        slow = np.sin(6.28 * (across * column / width + downward * row / height))
        grain = rng.random((height, width)) - 0.5
        planes.append(0.5 + 0.22 * chirp + 0.12 * bars + 0.12 * slow + 0.25 * grain)
    return np.clip(np.rint(255.0 * np.stack(planes, -1)), 0, 255).astype(np.uint8)
