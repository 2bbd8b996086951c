"""Validation in training: the objective and its parts on whole images, once per epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hpcm import ranks
from hpcm.evaluation.image_sets import ImageSet, decode, image_set
from hpcm.evaluation.modes import check_codec, check_outputs, device_of, evaluation_mode, stride_of
from hpcm.evaluation.padding import Padding
from hpcm.losses.metrics import MS_SSIM_MIN_SIDE, ms_ssim, ms_ssim_to_db, psnr
from hpcm.losses.rate_distortion import LossConfig, rate_distortion
from hpcm.schema import ConfigError

WITH_ERROR = ("rd_cost", "bpp", "psnr", "ms_ssim_db")  # scores that have a standard error
PARTS = 8  # of the images
PART = "part"  # begins the names of their scores
NAMES = ("rd_cost", "bpp", "bpp_z", "bpp_s1", "bpp_s2", "bpp_s3", "psnr", "mse")


class Validator:
    """Scores a model on the images of a set; decodes them once and keeps them, 3 bytes a pixel.

    Each image is padded with zeros to a multiple of ``stride``, goes through the model in
    evaluation mode and full precision, is cropped back and clamped to [0, 1]. Bits count those of
    the padding, pixels are the image's own. Every value is the mean of the images' own values.
    With ``by_all_ranks`` the processes of a run share out the images, and all have to call it.

    Raises :class:`ConfigError` if the set cannot be used, or not with the loss's metric.
    """

    def __init__(
        self,
        images: str | ImageSet,
        loss: LossConfig,
        stride: int,
        by_all_ranks: bool = False,
    ) -> None:
        known = image_set(images) if isinstance(images, str) else images
        self.images, arrays = decode(known)
        self._pixels = [to_tensor(array) for array in arrays]  # (3, H, W) each
        self._loss, self._stride, self._by_all_ranks = loss, stride, by_all_ranks
        self._with_ms_ssim = scores_ms_ssim(self.images)
        if loss.metric == "ms_ssim" and not self._with_ms_ssim:
            raise ConfigError(
                f"loss.metric: ms_ssim cannot be validated on image set '{self.images.name}': it "
                f"needs the package pytorch-msssim, and {MS_SSIM_MIN_SIDE} pixels per side"
            )

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """``val_rd_cost`` (the objective), ``val_bpp`` and its parts, ``val_psnr``, ``val_mse``.

        ``val_ms_ssim_db`` too if pytorch-msssim is installed and no side is below 161 pixels;
        and of two images or more the standard errors of rd_cost, bpp and the qualities over them,
        as ``val_rd_cost_se`` .., and means over parts of the images (:meth:`_of_parts`), which give
        the standard error of what is computed from the scores later.
        """
        names = [*NAMES, "ms_ssim_db"] if self._with_ms_ssim else NAMES
        with evaluation_mode(model):
            rows = self._rows(model, len(names))
        means = rows.mean(dim=0).tolist()
        scores = {f"val_{name}": value for name, value in zip(names, means, strict=True)}
        if len(rows) == 1:
            return scores
        errors = (rows.std(dim=0) / len(rows) ** 0.5).tolist()
        pairs = zip(names, errors, strict=True)
        scores |= {f"val_{name}_se": value for name, value in pairs if name in WITH_ERROR}
        return scores | self._of_parts(rows, names)

    def _rows(self, model: nn.Module, values: int) -> Tensor:
        """Of each image the ``values`` of :meth:`_score`; (images, values), float64."""
        device = device_of(model)
        rows = torch.zeros(len(self._pixels), values, dtype=torch.float64, device=device)
        first, step = (ranks.own(), ranks.count()) if self._by_all_ranks else (0, 1)
        for index in range(first, len(rows), step):
            x = self._pixels[index][None].to(device).float() / 255  # (1, 3, H, W)
            rows[index] = self._score(model, x)
        return ranks.total(rows) if self._by_all_ranks else rows

    def _of_parts(self, rows: Tensor, names: Sequence[str]) -> dict[str, float]:
        """Rate and quality of up to eight parts of the images: ``part1_val_bpp`` .. .

        The same images for every model, every eighth from the first, second .. on.
        """
        quality = "ms_ssim_db" if self._loss.metric == "ms_ssim" else "psnr"
        found = {}
        for part in range(min(PARTS, len(rows))):
            means = rows[part::PARTS].mean(dim=0).tolist()
            for name in ("bpp", quality):
                found[f"{PART}{part + 1}_val_{name}"] = means[names.index(name)]
        return found

    def _score(self, model: nn.Module, x: Tensor) -> Tensor:
        """One image's values in the order of NAMES."""
        height, width = x.shape[-2:]
        padding = Padding.to_multiple(height, width, self._stride)
        out = model(padding.pad(x))
        check_outputs(model, out)
        x_hat = padding.crop(out["x_hat"]).clamp(0, 1)  # (1, 3, H, W)
        terms = rate_distortion({**out, "x_hat": x_hat}, x, self._loss.metric)
        values = [terms.rd_cost(self._loss.lmbda), terms.bpp, terms.bpp_z, *terms.bpp_scale]
        values += [psnr(x_hat, x)[0], terms.mse]
        if self._with_ms_ssim:
            values.append(ms_ssim_to_db(ms_ssim(x_hat, x))[0])
        return torch.stack(values)


def validate(
    model: nn.Module, images: str | ImageSet, loss: LossConfig, stride: int | None = None
) -> dict[str, float]:
    """Score a model once; see :class:`Validator`. ``stride`` defaults to the model's."""
    check_codec(model)
    return Validator(images, loss, stride or stride_of(model))(model)


def scores_ms_ssim(images: ImageSet) -> bool:
    """Whether MS-SSIM can be computed: its package is there and so are 161 pixels on every side."""
    try:
        import pytorch_msssim  # noqa: F401
    except ImportError:
        return False
    return min(min(item.width, item.height) for item in images.items) >= MS_SSIM_MIN_SIDE


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) to (3, H, W), in that order in memory too."""
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
