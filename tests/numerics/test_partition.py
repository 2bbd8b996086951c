"""Grids, masks and the coding order, against recorded index maps and a NumPy twin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hpcm.model import partition
from hpcm.model.coding_order import CODING_ORDER, SCALE_OF_STEP, CodingStep
from tests.reference import partition as twin

GOLDEN = Path(__file__).parent.parent / "golden"
RECORDED = ["16x16", "16x32", "32x16"]
SIZES = [(8, 8), (16, 8), (8, 24), (16, 32), (40, 16)]


@pytest.fixture(scope="module")
def ops() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "hpcm_ops.npz"))


def numbered(height: int, width: int) -> Tensor:
    """Each element holds 1 + its place row * W + column: (1, 1, 8, 1, H, W)."""
    places = torch.arange(1, height * width + 1).reshape(height, width).double()
    return places.expand(1, 1, 8, 1, height, width).contiguous()


def moved(move: Callable[[Tensor], Tensor], size: str) -> np.ndarray:
    """The source place of each element after a move, -1 where it is zero: (8, h, w)."""
    height, width = map(int, size.split("x"))
    return move(numbered(height, width))[0, 0, :, 0].numpy().astype(int) - 1


@pytest.mark.parametrize("size", RECORDED)
def test_grids_match_recorded_maps(ops: dict[str, np.ndarray], size: str) -> None:
    def s1(x: Tensor) -> Tensor:
        return partition.to_s1(partition.to_s2(x))

    def hyper_s2(x: Tensor) -> Tensor:
        return partition.hyper_s2(partition.to_s2(x))

    np.testing.assert_array_equal(moved(partition.to_s2, size), ops[f"y_s2_source_{size}"])
    np.testing.assert_array_equal(moved(s1, size), ops[f"y_s1_source_{size}"])
    np.testing.assert_array_equal(moved(hyper_s2, size), ops[f"hyper_s2_source_{size}"])


@pytest.mark.parametrize("size", RECORDED)
def test_s3_hyper_mask_matches_recorded_map(ops: dict[str, np.ndarray], size: str) -> None:
    height, width = map(int, size.split("x"))
    inner = partition.tile(partition.inner_mask(3), height, width)
    kept = torch.where(inner, 0, numbered(height, width))[0, 0, :, 0].numpy().astype(int) - 1
    np.testing.assert_array_equal(kept, ops[f"hyper_s3_source_{size}"])


@pytest.mark.parametrize("size", RECORDED)
def test_step_of_element_matches_recorded_map(ops: dict[str, np.ndarray], size: str) -> None:
    height, width = map(int, size.split("x"))
    steps = partition.tile(partition.step_of_element(), height, width)
    np.testing.assert_array_equal(steps.numpy(), ops[f"step_of_element_{size}"])


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_twin_agrees(height: int, width: int) -> None:
    values = np.random.default_rng(0).normal(size=(8, height, width))
    x = torch.from_numpy(values)[None, None, :, None]
    s2 = partition.to_s2(x)
    np.testing.assert_array_equal(
        s2[0, 0, :, 0].numpy(), twin.pack(values, twin.s2_mask(height, width))
    )
    s1 = twin.pack(s2[0, 0, :, 0].numpy(), twin.s1_mask(height // 2, width // 2))
    np.testing.assert_array_equal(partition.to_s1(s2)[0, 0, :, 0].numpy(), s1)
    np.testing.assert_array_equal(
        partition.hyper_s2(s2)[0, 0, :, 0].numpy(), twin.hyper_s2(s2[0, 0, :, 0].numpy())
    )
    steps = partition.tile(partition.step_of_element(), height, width)
    np.testing.assert_array_equal(steps.numpy(), twin.step_of_element(height, width))


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_masks_of_a_scale_are_disjoint_and_complete(scale: int) -> None:
    masks = partition.step_masks(scale)
    covered = masks.sum(0)
    if scale > 1:
        covered = covered + partition.tile(partition.inner_mask(scale), *covered.shape[-2:])
    assert (covered == 1).all()


@pytest.mark.parametrize("step", CODING_ORDER, ids=lambda step: f"step{step.number}")
def test_chunks_of_a_step_cover_each_position_once(step: CodingStep) -> None:
    masks = [mask for scale in (1, 2, 3) for mask in partition.step_masks(scale)]
    mask = masks[step.number - 1].unflatten(0, (step.chunks, -1))
    assert (mask == mask[:, :1]).all(), "the eighths of a chunk share their places"
    assert (mask[:, 0].sum(0) == 1).all()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_gather_undoes_spread(height: int, width: int) -> None:
    x = torch.randn(2, 2, 8, 3, height, width, generator=torch.Generator().manual_seed(0))
    assert torch.equal(partition.to_s2(partition.spread(x)), x)
    assert torch.equal(partition.to_s1(partition.spread(x)), x)


def test_eighths_split_and_join() -> None:
    x = torch.arange(2 * 48 * 4).reshape(2, 48, 2, 2)
    cut = partition.split_eighths(x, channels=24)
    assert cut.shape == (2, 2, 8, 3, 2, 2)
    assert torch.equal(cut[:, 1, 2, 0], x[:, 24 + 6])
    assert torch.equal(partition.join_eighths(cut), x)


def test_sum_per_step() -> None:
    x = torch.rand(2, 16, 16, 24, dtype=torch.float64)
    steps = twin.step_of_element(16, 24)
    sums = partition.sum_per_step(x, partition.step_membership().double())
    for number in range(1, 12):
        chosen = torch.from_numpy(steps == number)
        expected = (x.unflatten(1, (8, 2)) * chosen[:, None]).sum((1, 2, 3, 4))
        torch.testing.assert_close(sums[:, number - 1], expected)


def test_quirks_of_the_coding_order() -> None:
    """The first step of s2 and s3 uses the last adaptor; the gains go straight through."""
    assert SCALE_OF_STEP == (1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3)
    assert [step.adaptor for step in CODING_ORDER] == [None, 0, 2, 0, 1, 5, 0, 1, 2, 3, 4]
    assert [step.gain for step in CODING_ORDER] == [None, *range(10)]
    assert [step.prior[-2:] for step in CODING_ORDER] == ["s2"] * 5 + ["s3"] * 6
