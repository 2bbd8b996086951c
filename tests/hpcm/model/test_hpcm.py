"""What `model(x)` promises: shapes, bits, noise, precision, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpcm.losses import rate_distortion
from hpcm.model import MODELS, ModelConfig, build_model
from hpcm.model.coding_order import SCALE_OF_STEP
from hpcm.schema import ConfigError
from tests.noise import seeded_noise

Model = Callable[..., nn.Module]
Batch = Callable[..., Tensor]


@pytest.fixture
def evaluated(tiny_model: Model, image_batch: Batch) -> dict[str, Any]:
    with torch.no_grad():
        return tiny_model().eval()(image_batch(count=2, height=256, width=512))


def test_shapes(evaluated: dict[str, Any]) -> None:
    shapes = {
        "x_hat": (2, 3, 256, 512),
        "y": (2, 32, 16, 32),
        "y_hat": (2, 32, 16, 32),
        "z_hat": (2, 32, 4, 8),
        "scales": (2, 32, 16, 32),
        "params": (2, 64, 16, 32),
    }
    assert {name: tuple(evaluated[name].shape) for name in shapes} == shapes
    assert {k: tuple(v.shape) for k, v in evaluated["latents"].items()} == {
        "s1": (2, 32, 4, 8),
        "s2": (2, 32, 8, 16),
        "s3": (2, 32, 16, 32),
    }
    assert {k: tuple(v.shape) for k, v in evaluated["likelihoods"].items()} == {
        "y": (2, 32, 16, 32),
        "z": (2, 32, 4, 8),
    }
    assert evaluated["bits"]["steps"].shape == (2, len(SCALE_OF_STEP))


def test_bits_are_those_of_the_likelihoods(evaluated: dict[str, Any]) -> None:
    bits, likelihoods = evaluated["bits"], evaluated["likelihoods"]
    of_y = -torch.log2(likelihoods["y"]).double().sum((1, 2, 3))
    of_z = -torch.log2(likelihoods["z"]).double().sum((1, 2, 3))
    torch.testing.assert_close(bits["steps"].double().sum(1), of_y, rtol=1e-6, atol=0)
    torch.testing.assert_close(bits["z"].double(), of_z, rtol=1e-6, atol=0)


def test_nested_latents_agree(evaluated: dict[str, Any]) -> None:
    """What a scale has decoded stays as it is on the next scale's grid."""
    latents = evaluated["latents"]
    assert torch.equal(latents["s3"], evaluated["y_hat"])
    first = latents["s3"][:, :4]  # eighth 0: its s2 elements sit at (0, 0), its s1 elements too
    assert torch.equal(first[..., ::2, ::2], latents["s2"][:, :4])
    assert torch.equal(first[..., ::4, ::4], latents["s1"][:, :4])


def test_symbols_rebuild_the_latent(evaluated: dict[str, Any]) -> None:
    means = evaluated["y_hat"] - evaluated["symbols"]["y"]
    assert (evaluated["y"] - means - evaluated["symbols"]["y"]).abs().max() <= 0.5 + 1e-5


def test_evaluation_is_deterministic_and_training_takes_the_noise_it_is_given(
    tiny_model: Model, image_batch: Batch
) -> None:
    model, x = tiny_model(), image_batch()

    def bits(seed: int) -> Tensor:
        with torch.no_grad():
            return model(x, seeded_noise(model, x, seed))["bits"]["steps"]

    model.train()
    assert torch.equal(bits(1), bits(1))
    assert not torch.equal(bits(1), bits(2))
    model.eval()
    assert torch.equal(bits(1), bits(2))


def test_training_decodes_the_rounded_latent(tiny_model: Model, image_batch: Batch) -> None:
    """The noise is for the rate alone."""
    model, x = tiny_model(), image_batch()
    with torch.no_grad():
        trained, evaluated = model.train()(x)["x_hat"], model.eval()(x)["x_hat"]
    assert torch.equal(trained, evaluated)


def test_images_of_a_batch_do_not_see_one_another(tiny_model: Model, image_batch: Batch) -> None:
    model, x = tiny_model().eval(), image_batch(count=2)
    with torch.no_grad():
        both, alone = model(x), model(x[1:])
    torch.testing.assert_close(both["x_hat"][1:], alone["x_hat"], rtol=0, atol=1e-5)


def test_means_learn_from_the_rate_alone(tiny_model: Model, image_batch: Batch) -> None:
    """Distortion reaches g_a straight through the rounding, and never the hyper decoder."""
    model, x = tiny_model().train(), image_batch()
    (model(x)["x_hat"] - x).square().mean().backward()
    moved = {
        name.split(".")[0]
        for name, p in model.named_parameters()
        if p.grad is not None and p.grad.abs().max() > 0
    }
    assert moved == {"g_a", "g_s"}


def test_bfloat16_autocast_keeps_the_rate_in_float32(tiny_model: Model, image_batch: Batch) -> None:
    model, x = tiny_model().train(), image_batch()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(x, seeded_noise(model, x))
    for tensor in (*out["likelihoods"].values(), *out["bits"].values(), out["y_hat"]):
        assert tensor.dtype == torch.float32
    wide = model(x, seeded_noise(model, x))
    torch.testing.assert_close(
        out["bits"]["steps"].sum(), wide["bits"]["steps"].sum(), rtol=0.02, atol=0
    )


def test_forward_never_asks_for_values() -> None:
    """On the meta device there are none: no .item(), no mask indexing, no data-dependent shape."""
    with torch.device("meta"):
        model = build_model("hpcm_tiny")
    out = model(torch.rand(2, 3, 256, 256, device="meta"))
    assert out["bits"]["steps"].shape == (2, 11)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_graph_captures_forward_and_backward(tiny_model: Model, image_batch: Batch) -> None:
    """No graph break, with the training's noise; gradients as without the graph."""
    model, x = tiny_model().train(), image_batch()
    noise = seeded_noise(model, x)

    def loss(x: Tensor, noise: dict[str, Tensor]) -> Tensor:
        return rate_distortion(model(x, noise), x).rd_cost(0.013)

    gradients = []
    for function in (loss, torch.compile(loss, backend="aot_eager", fullgraph=True)):
        model.zero_grad(set_to_none=True)
        function(x, noise).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["hpcm_tiny", "hpcm_phi"])
def test_sides_off_the_stride_are_refused(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name)
        x = torch.rand(1, 3, 384, 640)
    if model.stride == 128:
        model(x)
    else:
        with pytest.raises(ValueError, match="384 x 640; sides must be multiples of 256"):
            model(x)


@pytest.mark.parametrize("shape", [(3, 256, 256), (1, 4, 256, 256), (1, 3, 0, 256)])
def test_other_shapes_are_refused(tiny_model: Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        tiny_model()(torch.zeros(shape))


def test_build_model_by_name_or_config() -> None:
    assert build_model("hpcm_tiny").spec is MODELS["hpcm_tiny"]
    model = build_model(ModelConfig(name="hpcm_tiny", likelihood="accurate"))
    assert model.entropy_estimation.likelihood == "accurate"
    assert model.latent_channels == MODELS["hpcm_tiny"].latent
    with pytest.raises(ConfigError, match=r"'hpcm_bas' is unknown. Did you mean 'hpcm_base'"):
        build_model("hpcm_bas")
