"""HPCM: hierarchical progressive context modelling (Li et al., ICCV 2025, arXiv 2507.19125).

Shapes: B batch; M latent channels; N hyper-latent channels; H W the latent's grid (image / 16);
m = M/8 the channels of an eighth. Tensors cut into eighths are (B, n, 8, m, h, w), where n = 1 for
the latent and n = 2 for parameters: scales, then means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hpcm.full_precision import at_least_float32
from hpcm.model import partition
from hpcm.model.code_tables import CodeTables, build_tables, default_scale_table
from hpcm.model.codec import CodedImage, decode_image, encode_image
from hpcm.model.coding_order import (
    CODING_ORDER,
    S1_IN_S2,
    S2_IN_S3,
    SCALES,
    CodingStep,
    steps_of,
)
from hpcm.model.context import CrossAttention, SpatialPrior, build_adaptor
from hpcm.model.entropy import GeneralizedGaussian, Likelihood, quantize, uniform_noise
from hpcm.model.partition import join_eighths, split_eighths
from hpcm.model.pointwise import Pointwise, side_by_side
from hpcm.model.selection import assemble, fill_in, pick, straight_through
from hpcm.model.spec import HPCMSpec
from hpcm.model.transforms import build_transform

TABLE_BUFFERS = (
    *("scale_table", "quantized_cdf_z", "cdf_length_z", "offset_z"),
    *("quantized_cdf_y", "cdf_length_y", "offset_y"),
)

LAST_STEP = len(CODING_ORDER)  # the context it would hand on is never used

# (step, its mask (8, 1, h, w), its parameters (B, 2, 8, m, h, w)) -> y_hat (B, 1, 8, m, h, w), read
# where the mask is true.
Decide = Callable[[CodingStep, Tensor, Tensor], Tensor]


class Walked(NamedTuple):
    """What a walk over the coding steps leaves behind."""

    latents: dict[str, Tensor]  # y_hat at the end of s1, s2, s3, each on its own grid
    params: Tensor  # (B, 2M, H, W): the scales and means each element was coded with


class HPCM(nn.Module):
    """A learned image codec whose latent is coded in eleven steps on three nested grids.

    ``model(x)`` takes images (B, 3, H, W) in [0, 1] with sides that are multiples of `stride`.
    Training mode adds noise to the rate's residuals; evaluation mode is deterministic.
    """

    means_hyper: nn.Parameter
    scales_hyper: nn.Parameter
    quantized_cdf_y: Tensor
    cdf_length_y: Tensor
    offset_y: Tensor
    quantized_cdf_z: Tensor
    cdf_length_z: Tensor
    offset_z: Tensor
    scale_table: Tensor
    step_membership: Tensor

    def __init__(self, spec: HPCMSpec, likelihood: Likelihood = "published") -> None:
        super().__init__()
        self.spec = spec
        latent, hyper = spec.latent, spec.hyper
        self.means_hyper = nn.Parameter(torch.zeros(1, hyper, 1, 1))
        self.scales_hyper = nn.Parameter(torch.ones(1, hyper, 1, 1))
        for name in TABLE_BUFFERS:
            self.register_buffer(name, torch.empty(0))
        self.entropy_estimation = GeneralizedGaussian(likelihood)
        self.g_a = build_transform(spec.g_a, 3, spec)
        self.g_s = build_transform(spec.g_s, latent, spec)
        self.h_a = build_transform(spec.h_a, latent, spec)
        self.h_s = build_transform(spec.h_s, hyper, spec)
        self._build_context(spec)
        self._build_masks()

    def _build_context(self, spec: HPCMSpec) -> None:
        wide, narrow = 3 * spec.latent, 2 * spec.latent
        for scale in SCALES:
            count = sum(step.adaptor is not None for step in steps_of(scale))
            blocks = spec.adaptor_blocks[scale - 1]
            adaptors = nn.ModuleList(build_adaptor(wide, blocks) for _ in range(count))
            setattr(self, f"y_spatial_prior_adaptor_list_s{scale}", adaptors)
        self.y_spatial_prior_s1_s2 = SpatialPrior(spec.latent, spec.prior_s1_s2)
        self.y_spatial_prior_s3 = SpatialPrior(spec.latent, spec.prior_s3)
        gains = sum(step.gain is not None for scale in SCALES for step in steps_of(scale))
        self.adaptive_params_list = nn.ParameterList(
            torch.ones(1, wide, 1, 1) for _ in range(gains)
        )
        if spec.windows:
            for scale, window in zip(SCALES, spec.windows, strict=True):
                setattr(self, f"attn_s{scale}", CrossAttention(narrow, window, spec.heads))
        self.context_net = nn.ModuleList(Pointwise(narrow, narrow) for _ in range(2))

    def _build_masks(self) -> None:
        """Masks of one periodic cell each: constants, so neither saved nor kept per image size."""
        for scale in SCALES:
            self.register_buffer(f"masks_s{scale}", partition.masks_of(scale), persistent=False)
        self.register_buffer("step_membership", partition.step_membership(), persistent=False)

    @property
    def stride(self) -> int:
        """Image sides must be multiples of this, in pixels."""
        return self.spec.stride

    @property
    def latent_channels(self) -> int:
        """M."""
        return self.spec.latent

    def noise_shapes(self, height: int, width: int) -> dict[str, tuple[int, int, int]]:
        """The shapes of the training noise of one image of these sides, in pixels; z's first."""
        z = (self.spec.hyper, height // 64, width // 64)
        return {"z": z, "y": (self.spec.latent, height // 16, width // 16)}

    def forward(self, x: Tensor, noise: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """Reconstruction, likelihoods, bits and latents of images (B, 3, H, W) in [0, 1].

        ``noise`` is the training's, uniform in [-0.5, 0.5): z (B, N, H/64, W/64) and y (B, M, H/16,
        W/16); if it is not given, it is drawn from PyTorch's global generator. Raises ValueError
        if a side is not a multiple of `stride`.
        """
        self._check(x)
        y, z = self.analyse(x)
        z_hat = quantize(z, self.means_hyper)
        params = self.hyper_params(z_hat)
        grids = self.grids(y)
        walked = self.walk(params, self._quantizer(grids), grids)
        y_hat = walked.latents["s3"]
        scales, means = walked.params.chunk(2, dim=1)

        residuals = {"z": z - self.means_hyper, "y": y - means}
        symbols = {name: value.detach().round() for name, value in residuals.items()}
        rated = symbols
        if self.training:
            noise = noise or {name: uniform_noise(value) for name, value in residuals.items()}
            rated = {name: value + noise[name] for name, value in residuals.items()}
        likelihoods = {
            "y": self.entropy_estimation(rated["y"], scales),  # (B, M, H, W)
            "z": self.entropy_estimation(rated["z"], self.scales_hyper),  # (B, N, H/4, W/4)
        }
        return {
            "x_hat": self.g_s(y_hat),
            "likelihoods": likelihoods,
            "bits": self.bits(likelihoods),
            "latents": walked.latents,
            "symbols": symbols,
            "y": y,
            "y_hat": y_hat,
            "z_hat": z_hat,
            "scales": scales,
            "params": params,
        }

    def analyse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y (B, M, H, W) and z (B, N, H/4, W/4)."""
        y = at_least_float32(self.g_a(x))
        return y, at_least_float32(self.h_a(y))

    def hyper_params(self, z_hat: Tensor) -> Tensor:
        """The hyper tensor (B, 2M, H, W): scales, then means."""
        return at_least_float32(self.h_s(z_hat))

    def grids(self, y: Tensor) -> dict[int, Tensor]:
        """What each scale codes of the latent (B, M, H, W): (B, 1, 8, m, h, w)."""
        return self._grids(split_eighths(y, self.spec.latent))

    def walk(
        self, hyper: Tensor, decide: Decide, latent: dict[int, Tensor] | None = None
    ) -> Walked:
        """Run the coding steps in order from the hyper tensor (B, 2M, H, W).

        ``decide`` gives the decoded values of a step from its scales and means: by quantising the
        latent in `forward` and compress, from the bitstream in decompress. The gradient of what is
        decoded goes straight through to ``latent``, the `grids`.
        """
        hypers = self._grids(split_eighths(hyper, self.spec.latent))
        hypers[2] = partition.hyper_s2(hypers[2])
        context, params = join_eighths(hypers[1]), hypers[1]
        y_hat = torch.zeros_like(params)[:, :1]  # in the same order in memory
        latents: dict[str, Tensor] = {}

        def known(scale: int, coded: Tensor) -> Tensor:
            values = y_hat if latent is None else straight_through(y_hat, latent[scale], coded)
            return join_eighths(values)

        for scale in SCALES:
            inner, masks, coded = self._masks(scale, hypers[scale])
            if scale > 1:
                y_hat = partition.spread(y_hat) * inner
                split = split_eighths(context, self.spec.latent)
                merged = fill_in(hypers[scale], split, partition.INNER[scale], inner)
                context = self.context_net[scale - 2](join_eighths(merged))
            psis = []
            for step, mask, before in zip(steps_of(scale), masks, coded, strict=False):
                psi, context = self._predict(step, context, known(scale, before))
                psis.append(split_eighths(at_least_float32(psi), self.spec.latent))
                with torch.no_grad():
                    y_hat = torch.where(mask, decide(step, mask, psis[-1]), y_hat)
            found = assemble(masks, *psis)
            below = partition.INNER.get(scale)
            params = found if below is None else fill_in(found, params, below, inner)
            latents[f"s{scale}"] = known(scale, coded[-1])
        return Walked(latents, join_eighths(params))

    def _predict(self, step: CodingStep, context: Tensor, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """The step's scales and means (B, 2M, h, w), and the context of the next step."""
        if step.adaptor is None or step.gain is None:
            return context, context
        adaptor = getattr(self, f"y_spatial_prior_adaptor_list_s{step.scale}")[step.adaptor]
        prior = getattr(self, step.prior)
        psi = prior(adaptor(side_by_side(context, y_hat)), self.adaptive_params_list[step.gain])
        if not self.spec.windows or step.number == LAST_STEP:
            return psi, psi
        return psi, getattr(self, f"attn_s{step.scale}")(psi, context)

    def _grids(self, s3: Tensor) -> dict[int, Tensor]:
        """A tensor on the latent's grid (B, n, 8, m, H, W) as each scale sees it."""
        s2 = pick(s3, S2_IN_S3, self._masks(3, s3)[0])
        return {1: pick(s2, S1_IN_S2, self._masks(2, s2)[0]), 2: s2, 3: s3}

    def _masks(self, scale: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Masks on the grid of ``like``, (8, 1, h, w) each.

        Where the scale below sits; the steps'; what is coded before each step, and at the end.
        """
        steps = len(steps_of(scale))
        masks = partition.tile_like(getattr(self, f"masks_s{scale}"), like)
        inner, own, coded = masks.split((1, steps, steps + 1))
        return inner[0], own, coded

    def _quantizer(self, grids: dict[int, Tensor]) -> Decide:
        """Decide the steps by rounding the latent's `grids`."""

        def decide(step: CodingStep, mask: Tensor, psi: Tensor) -> Tensor:
            return quantize(grids[step.scale], psi[:, 1:])

        return decide

    def update(self, scale_table: Tensor | None = None, force: bool = False) -> bool:
        """Build the code tables if there are none, or with ``force``; True if it did.

        ``scale_table`` (levels,) are the scales y is coded with; None: the published 60.
        """
        if self.cdf_length_y.numel() and not force:
            return False
        table = default_scale_table() if scale_table is None else scale_table.float()
        self.set_tables(
            table,
            z=build_tables(self.scales_hyper.flatten(), self.entropy_estimation),
            y=build_tables(table, self.entropy_estimation),
        )
        return True

    def set_tables(self, scale_table: Tensor, z: CodeTables, y: CodeTables) -> None:
        """Make these the model's code tables."""
        for name, value in zip(TABLE_BUFFERS, (scale_table, *z, *y), strict=True):
            setattr(self, name, value.to(self.means_hyper.device))

    def compress(self, x: Tensor) -> dict[str, Any]:
        """Bitstreams of images (B, 3, H, W): ``strings`` is [y per image, z per image].

        ``shape`` is that of z. Images are coded one by one; code tables are built if there are
        none, so call ``update(force=True)`` if the weights have changed since.
        """
        self._check(x)
        coded = [encode_image(self, image[None]) for image in x]
        strings = [[image.y for image in coded], [image.z for image in coded]]
        return {"strings": strings, "shape": torch.Size(coded[0].shape)}

    def decompress(self, strings: list[list[bytes]], shape: Sequence[int]) -> dict[str, Tensor]:
        """``x_hat`` (B, 3, H, W), clamped to [0, 1], from what `compress` returned.

        The device, its type and the number of CPU threads must be those of `compress`.
        """
        height, width = (int(side) for side in shape)
        images = [
            decode_image(self, CodedImage(y, z, (height, width)))
            for y, z in zip(*strings, strict=True)
        ]
        return {"x_hat": torch.cat(images)}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Tables have the size of those that are loaded: none in a fresh model."""
        for name in TABLE_BUFFERS:
            value = state_dict.get(prefix + name)
            if isinstance(value, Tensor) and value.shape != getattr(self, name).shape:
                setattr(self, name, torch.empty_like(value, device=self.means_hyper.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def bits(self, likelihoods: dict[str, Tensor]) -> dict[str, Tensor]:
        """Bits of each image: of z (B,), and of y in each coding step (B, 11)."""
        bits = {name: -torch.log2(value) for name, value in likelihoods.items()}
        return {
            "z": bits["z"].sum(dim=(1, 2, 3)),
            "steps": partition.sum_per_step(bits["y"], self.step_membership),
        }

    def _check(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != 3:
            raise ValueError(f"image batch has shape {tuple(x.shape)}; must be (B, 3, H, W)")
        height, width = x.shape[2:]
        if not height or not width or height % self.stride or width % self.stride:
            raise ValueError(
                f"image is {height} x {width}; sides must be multiples of {self.stride}, so pad it"
            )
