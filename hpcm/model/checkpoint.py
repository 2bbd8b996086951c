"""Weights in files: the authors' checkpoints and ours, in and out, keys and shapes checked.

Both are state dicts with the published keys. The authors' is bare, sometimes with ``module.``
before each key or without the gains (always 1 until January 2026); ours names its variant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpcm.atomic_files import replacing
from hpcm.model import MODELS, build_model
from hpcm.model.code_tables import TOTAL
from hpcm.model.hpcm import HPCM, TABLE_BUFFERS
from hpcm.model.spec import HPCMSpec
from hpcm.model.tensor_files import check_plain, read_tensors
from hpcm.schema import ConfigError, did_you_mean, shown

FORMAT = "hpcm-tune weights 1"
MODEL_FILE = "model.pt"  # in a checkpoint folder: a bare state dict, as the authors publish theirs
GAINS = "adaptive_params_list."
WRAPPER = "module."


@dataclass(frozen=True)
class Weights:
    """A state dict with plain keys, and what its file says of it."""

    state: dict[str, Tensor]
    variant: str | None = None  # a name in MODELS, if the file says it
    about: dict[str, Any] = field(default_factory=dict)  # config digest, lmbda .. of ours


def read_weights(path: str | Path) -> Weights:
    """The weights in a file, never running code that is in it. Raises ConfigError."""
    content = read_tensors(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds {type(content).__name__}, not a state dict")
    if isinstance(written := content.get("format"), str) and written == FORMAT:
        variant, about = content.get("model"), content.get("about")
        if not isinstance(variant, str) or variant not in MODELS:
            known = did_you_mean(variant, MODELS)
            raise ConfigError(f"{path}: the model {shown(repr(variant))} is unknown{known}")
        checked = check_about(about, path)
        return Weights(plain_keys(content.get("state_dict"), path), variant, checked)
    return Weights(plain_keys(content.get("state_dict", content), path))


def check_about(about: Any, path: str | Path) -> dict[str, Any]:
    """Refuse what a file of ours says of its weights if it is no names with plain values."""
    if not isinstance(about, dict):
        raise ConfigError(f"{path}: about: {type(about).__name__}, not a mapping")
    for key, value in about.items():
        kinds = str if key == "config_digest" else (str, int, float, bool, type(None))
        if not isinstance(key, str) or not isinstance(value, kinds):
            pair = f"{shown(repr(key))}: {type(value).__name__}"
            raise ConfigError(f"{path}: about.{pair}, not text or a number")
    return about


def plain_keys(content: Any, path: str | Path) -> dict[str, Tensor]:
    """A state dict without ``module.``. Raises ConfigError for what is no state dict."""
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"{path}: holds no state dict")
    for key, value in content.items():
        check_plain(key, value, path)
    wrapped = all(key.startswith(WRAPPER) for key in content)
    return {key.removeprefix(WRAPPER) if wrapped else key: value for key, value in content.items()}


def load_weights(model: nn.Module, weights: Weights, where: str) -> None:
    """Put weights into a model; absent gains are 1, as the authors' were.

    Raises ConfigError naming the first key that differs.
    """
    if difference := first_difference(model, weights.state):
        raise ConfigError(f"{where}: does not fit: {difference}")
    check_numbers(weights.state, where)
    check_tables(weights.state, where)
    own = model.state_dict()
    gains = {key: torch.ones_like(value) for key, value in own.items() if key.startswith(GAINS)}
    model.load_state_dict({**gains, **weights.state})


def load_model(path: str | Path, variant: str | None = None) -> HPCM:
    """The model of a file of weights; its variant is read or recognised unless given.

    Raises ConfigError.
    """
    weights = read_weights(path)
    name = variant or weights.variant or recognise(weights.state, path)
    model = build_model(name)
    load_weights(model, weights, f"{path}, as {name}")
    return model


def recognise(state: Mapping[str, Tensor], where: str | Path) -> str:
    """The variant whose keys and shapes these are.

    Raises ConfigError with the first difference to the variant that shares the most keys.
    """
    nearest, shared = "", -1
    for name, spec in MODELS.items():
        model = _without_weights(spec)
        if not first_difference(model, state):
            return name
        own = model.state_dict()
        common = sum(key in own and own[key].shape == value.shape for key, value in state.items())
        if common > shared:
            nearest, shared = f"{name}: {first_difference(model, state)}", common
    raise ConfigError(f"{where}: the weights of no variant; nearest to {nearest}")


@cache
def _without_weights(spec: HPCMSpec) -> HPCM:
    """A model of shapes alone, made once for all files that are read."""
    with torch.device("meta"):
        return HPCM(spec)


def first_difference(model: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """The first key that differs, in the model's order, then in the file's; None if all fit."""
    own = model.state_dict()
    for key, value in own.items():
        if key not in state:
            if not key.startswith(GAINS):
                return f"'{key}' is missing"
            continue
        given, expected = tuple(state[key].shape), tuple(value.shape)
        if key not in TABLE_BUFFERS and given != expected:
            return f"'{key}' has shape {given}, not {expected}"
        if key not in TABLE_BUFFERS and not state[key].is_floating_point():
            return f"'{key}' holds {state[key].dtype}, not floating-point numbers"
    surplus = next((key for key in state if key not in own), None)
    if surplus is not None:
        return f"'{surplus}' is no part of the model"
    gains = [key for key in own if key.startswith(GAINS)]
    present = [key for key in gains if key in state]
    if present and present != gains:
        return f"'{next(key for key in gains if key not in state)}' is missing"
    return None


def check_numbers(state: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights of which one is NaN or infinite, as a training that diverged leaves them."""
    for key, value in state.items():
        finite = value.isfinite() if value.is_floating_point() else None
        if finite is not None and not bool(finite.all()):
            count = int((~finite).sum())
            broken = f"{count} of its {value.numel()} numbers {'is' if count == 1 else 'are'}"
            raise ConfigError(f"{where}: '{key}' is not finite: {broken} NaN or infinite")


def check_tables(state: Mapping[str, Tensor], where: str) -> None:
    """Refuse code tables that the coder cannot read: it does not check them itself."""
    tables = {name: state[name] for name in TABLE_BUFFERS if name in state}
    if all(value.numel() == 0 for value in tables.values()):
        return
    for name in ("y", "z"):
        cdf, length, offset = (
            tables[f"{part}_{name}"] for part in ("quantized_cdf", "cdf_length", "offset")
        )
        rows = tables["scale_table"] if name == "y" else state["scales_hyper"].flatten()
        fits = (
            cdf.dim() == 2
            and len(cdf) <= TOTAL
            and length.shape == offset.shape == rows.shape == cdf.shape[:1]
            and not any(part.is_floating_point() for part in (cdf, length, offset))
            and bool((offset.abs() < TOTAL).all())
            and all(_is_cumulative(row, n) for row, n in zip(cdf, length.tolist(), strict=True))
        )
        if not fits:
            raise ConfigError(
                f"{where}: 'quantized_cdf_{name}' and what belongs to it are no tables"
            )


def _is_cumulative(row: Tensor, length: int) -> bool:
    """Counts from 0 to 2^16, none empty."""
    if not 3 <= length <= len(row):
        return False
    counts = row[:length].long()
    return bool(counts[0] == 0 and counts[-1] == TOTAL and (counts.diff() > 0).all())


def save_weights(
    model: HPCM, path: str | Path, variant: str | None = None, about: dict[str, Any] | None = None
) -> None:
    """Write a model's weights: ours with ``variant``, else as the authors publish theirs.

    Their files are bare and hold no tables, so that a fresh model of theirs loads them strictly.
    A reader sees all of the file or none. Raises ConfigError if it cannot be written.
    """
    state = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
    content: dict[str, Any] = {**state, **{name: torch.empty(0) for name in TABLE_BUFFERS}}
    if variant is not None:
        content = {"format": FORMAT, "model": variant, "about": about or {}, "state_dict": state}
    try:
        with replacing(Path(path)) as file:
            torch.save(content, file.stream)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path}: cannot be written: {str(error)[:120]}") from None
