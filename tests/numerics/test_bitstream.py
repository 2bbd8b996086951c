"""Code tables, coder and streams byte for byte as published; decoding gives the evaluated image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import gennorm
from torch import Tensor

from hpcm.evaluation.images import evaluate
from hpcm.model import build_model
from hpcm.model.bitstream import Decoder, Rows, encode
from hpcm.model.checkpoint import load_model
from hpcm.model.code_tables import (
    CodeTables,
    build_tables,
    cumulative_counts,
    default_scale_table,
    scale_indexes,
)
from hpcm.model.codec import decode_image, encode_image
from hpcm.model.entropy import GeneralizedGaussian
from hpcm.model.hpcm import HPCM
from hpcm.model.portable import ambiguous, settled_indexes
from hpcm.training.inputs import sample_weights
from tests.reference.fill_weights import fill_model
from tests.reference.recorded import filled, recorded

GOLDEN = Path(__file__).parent.parent / "golden"
Batch = Callable[..., Tensor]


@pytest.fixture(scope="module")
def ops() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "hpcm_ops.npz"))


def tables(ops: dict[str, np.ndarray], latent: str) -> CodeTables:
    names = ("quantized_cdf", "cdf_length", "offset")
    return CodeTables(*(torch.from_numpy(ops[f"tables_{name}_{latent}"]) for name in names))


@pytest.fixture
def lively() -> HPCM:
    """A tiny model with formula weights, which use all tables and escapes."""
    return fill_model(build_model("hpcm_tiny"), seed=4).eval()


# ---------------------------------------------------------------- tables and coder


def test_scale_table(ops: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(default_scale_table(), ops["tables_scale_table"])


@pytest.mark.parametrize(
    ("latent", "scales"), [("y", "tables_scale_table"), ("z", "tables_scales_hyper")]
)
def test_code_tables(ops: dict[str, np.ndarray], latent: str, scales: str) -> None:
    built = build_tables(torch.from_numpy(ops[scales]), GeneralizedGaussian())
    for ours, published in zip(built, tables(ops, latent), strict=True):
        assert ours.dtype == published.dtype
        np.testing.assert_array_equal(ours, published)


def test_scale_indexes(ops: dict[str, np.ndarray]) -> None:
    found = scale_indexes(torch.from_numpy(ops["index_scales"]), default_scale_table())
    np.testing.assert_array_equal(found, ops["index_expected"])


def test_coder_stream(ops: dict[str, np.ndarray]) -> None:
    rows = Rows(tables(ops, "y"))
    symbols, indexes = (torch.from_numpy(ops[f"coder_{name}"]) for name in ("symbols", "indexes"))
    stream = encode(symbols, indexes, rows)
    assert stream == ops["coder_stream"].tobytes()
    assert torch.equal(Decoder(stream, rows, 400).read(indexes), symbols.float())


def test_empty_symbols_take_a_count_from_the_smallest_that_can_spare_one() -> None:
    counts = np.diff(cumulative_counts(np.array([0.0, 0.5, 0.25, 0.25, 0.0])))
    assert counts.tolist() == [1, 32768, 16382, 16384, 1]


@pytest.mark.parametrize("pmf", [[], [0.0, 0.0], [0.5, float("nan")], [1.5, -0.5]])
def test_no_distribution_is_refused(pmf: list[float]) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        cumulative_counts(np.array(pmf))


# ---------------------------------------------------------------- whole models


@pytest.mark.parametrize(
    "name", ["base_photo_256x384", pytest.param("base_256", marks=pytest.mark.slow)]
)
def test_streams_are_the_authors(name: str) -> None:
    run, model = recorded(name), filled("hpcm_base").eval()
    coded = model.compress(run.images())
    assert coded["strings"][0][0] == run.arrays["stream_y_0"].tobytes()
    assert coded["strings"][1][0] == run.arrays["stream_z_0"].tobytes()
    assert list(coded["shape"]) == [side // 64 for side in run.meta["padded"][1:]]


def test_decoding_gives_the_evaluated_image(lively: HPCM, image_batch: Batch) -> None:
    x = image_batch(count=2, height=256, width=512)
    coded = lively.compress(x)
    decoded = lively.decompress(coded["strings"], coded["shape"])["x_hat"]
    with torch.no_grad():
        outs = [lively(image[None]) for image in x]
    assert max(out["symbols"]["y"].abs().max() for out in outs) > 20
    for image, out in zip(decoded, outs, strict=True):
        assert torch.equal(image, out["x_hat"][0].clamp(0, 1))


def test_size_is_within_a_percent_of_the_estimate_where_the_scales_are_right() -> None:
    """Symbols drawn from the distributions they are coded with."""
    rng = np.random.default_rng(5)
    scales = np.exp(rng.uniform(np.log(0.2), np.log(60), 20_000))
    symbols = np.round(gennorm.rvs(1.5, scale=scales, random_state=rng))
    table, entropy = default_scale_table(), GeneralizedGaussian("accurate").double()
    wanted, given = torch.from_numpy(scales), torch.from_numpy(symbols)
    stream = encode(given, scale_indexes(wanted, table), Rows(build_tables(table, entropy)))
    estimate = -torch.log2(entropy(given, wanted)).sum().item() / 8
    assert len(stream) == pytest.approx(estimate, rel=0.01)


@pytest.mark.parametrize(("portable", "most"), [(False, 0.03), (True, 0.05)])
def test_size_of_a_model_is_near_its_estimate(
    lively: HPCM, image_batch: Batch, portable: bool, most: float
) -> None:
    """Its scales are as good as chance, and a scale is coded with the next larger of 60."""
    x = image_batch(height=512, width=512)
    lively.entropy_estimation.likelihood = "accurate"
    with torch.no_grad():
        bits = lively(x)["bits"]
    estimate = (bits["z"].sum() + bits["steps"].sum()).item() / 8
    coded = encode_image(lively, x, portable)
    size = len(coded.y) + len(coded.z) + len(coded.corrections or b"")
    assert size == pytest.approx(estimate, rel=most)


@pytest.mark.parametrize("lmbda", [min(sample_weights()), max(sample_weights())])
def test_size_of_a_trained_model_is_within_a_percent_of_its_estimate_and_32_bytes(
    lmbda: float,
) -> None:
    """The bytes: two flushed coder states, and the table of the next larger scale."""
    model = load_model(sample_weights()[lmbda])
    for row in evaluate(model, "sample_val", real=True).images:
        in_bytes = row["width"] * row["height"] / 8
        real, estimate = row["bpp"] * in_bytes, row["bpp-estimated"] * in_bytes
        assert 0.99 * estimate - 32 < real < 1.01 * estimate + 32


def test_latents_that_cannot_be_coded_are_refused(lively: HPCM, image_batch: Batch) -> None:
    with torch.no_grad():
        lively.g_a.branch[-1].bias[3] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        lively.compress(image_batch())


# ---------------------------------------------------------------- other arithmetic


def test_portable_streams_survive_other_rounding(lively: HPCM, image_batch: Batch) -> None:
    """Float64 stands for a machine that rounds differently."""
    coded = encode_image(lively, image_batch(), portable=True)
    here = decode_image(lively, coded)
    there = decode_image(lively.double(), coded)
    torch.testing.assert_close(here.double(), there, rtol=0, atol=1e-4)


def test_another_machines_scales_choose_the_same_tables() -> None:
    """They differ by twice as much as was ever seen, and lie close to a border or on it."""
    table, seen = default_scale_table().double(), 4.5e-5
    distance = torch.linspace(-1e-3, 1e-3, 401, dtype=torch.float64)
    here = (table[:-1, None] * (1 + distance)).flatten()
    listed = ambiguous(here, table)
    assert 0 < listed.double().mean() < 0.5
    rows = settled_indexes(here, table, listed)
    for factor in (1 - 2 * seen, 1 + 2 * seen):
        there = settled_indexes(here * factor, table, listed)
        assert torch.equal(there, rows)


def test_exact_streams_detect_a_flipped_table(lively: HPCM, image_batch: Batch) -> None:
    """A decoder that picks one other table notices; it never returns an image."""
    coded = encode_image(lively, image_batch())
    with torch.no_grad():
        lively.h_s.branch[-1].branch["3"].bias[:4] += 0.1
    with pytest.raises(ValueError, match="not those that were coded"):
        decode_image(lively, coded)
