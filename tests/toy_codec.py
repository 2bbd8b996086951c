"""A codec of a few hundred weights with HPCM's outputs: for tests of what surrounds the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SCALE_OF_STEP = (1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3)


class ToyCodec(nn.Module):
    """y = conv(x) at 1/16, rounded straight through; Laplace likelihoods; three nested latents."""

    stride = 64
    latent_channels = 8

    def __init__(self) -> None:
        super().__init__()
        self.g_a = nn.Conv2d(3, self.latent_channels, 16, 16)
        self.g_s = nn.ConvTranspose2d(self.latent_channels, 3, 16, 16)
        self.scales_hyper_y = nn.Parameter(torch.zeros(11))
        self.scales_hyper_z = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, noise: dict[str, Tensor] | None = None) -> dict[str, object]:
        y = 4 * self.g_a(x)  # (B, 8, h, w)
        y_hat = y + (y.round() - y).detach()
        z = y[:, :2, ::4, ::4]
        noisy_z = self._noisy(z, noise, "z")
        noisy_y = self._noisy(y, noise, "y")
        step = torch.arange(y.numel() // len(y), device=y.device).reshape(y.shape[1:]) % 11
        likelihoods = {
            "y": _laplace(noisy_y, self.scales_hyper_y.exp()[step]),
            "z": _laplace(noisy_z, self.scales_hyper_z.exp()),
        }
        information = -likelihoods["y"].log2().flatten(1)
        steps = torch.zeros(len(x), 11, device=x.device, dtype=x.dtype)
        steps = steps.index_add(1, step.flatten(), information)
        return {
            "x_hat": self.g_s(y_hat) + 0.5,
            "likelihoods": likelihoods,
            "bits": {"steps": steps, "z": -likelihoods["z"].log2().flatten(1).sum(1)},
            "latents": {
                "s1": y_hat[:, :, ::4, ::4],
                "s2": y_hat[:, :, ::2, ::2],
                "s3": y_hat,
            },
        }

    def noise_shapes(self, height: int, width: int) -> dict[str, tuple[int, int, int]]:
        """As HPCM's."""
        z = (2, -(-height // 64), -(-width // 64))
        return {"z": z, "y": (self.latent_channels, height // 16, width // 16)}

    def _noisy(self, value: Tensor, noise: dict[str, Tensor] | None, name: str) -> Tensor:
        if not self.training:
            return value.round()
        return value + (torch.rand_like(value) - 0.5 if noise is None else noise[name])


def _laplace(value: Tensor, scale: Tensor) -> Tensor:
    """Mass of a Laplace distribution on value +- 1/2."""
    upper = torch.distributions.Laplace(torch.zeros_like(scale), scale, validate_args=False)
    return (upper.cdf(value.abs() + 0.5) - upper.cdf(value.abs() - 0.5)).clamp_min(1e-9)
