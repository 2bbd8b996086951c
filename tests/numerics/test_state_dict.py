"""Names and shapes of every parameter and buffer, against the authors' models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hpcm.model import MODELS, build_model

GOLDEN = Path(__file__).parent.parent / "golden"
PARAMETERS = {
    "hpcm_base": 68_505_299,
    "hpcm_large": 89_718_803,
    "hpcm_phi": 63_582_419,
    "hpcm_1b": 1_000_328_003,
}


def published(name: str) -> dict[str, list[int]]:
    path = GOLDEN / f"hpcm_state_dict_{name.removeprefix('hpcm_')}.json"
    shapes: dict[str, list[int]] = json.loads(path.read_text())
    return shapes


@pytest.mark.parametrize("name", PARAMETERS)
def test_keys_and_shapes_are_the_authors(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name)
    ours = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert ours == published(name)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", [name for name in PARAMETERS if name != "hpcm_1b"])
def test_order_of_keys_is_the_authors(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name)
    assert list(model.state_dict()) == list(published(name))


def test_every_parameter_is_trained() -> None:
    model = build_model("hpcm_tiny")
    out = model(torch.rand(1, 3, 256, 256))
    (out["x_hat"].mean() + out["bits"]["steps"].sum() + out["bits"]["z"].sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_sides_a_variant_accepts() -> None:
    strides = {name: spec.stride for name, spec in MODELS.items()}
    assert strides == {
        "hpcm_base": 256,
        "hpcm_tiny": 256,
        "hpcm_large": 256,
        "hpcm_phi": 128,
        "hpcm_1b": 128,
    }
