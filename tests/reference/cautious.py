"""Cautious Adam, one array at a time, as the formulas read. Slow and obvious."""

from __future__ import annotations

import numpy as np


class CautiousAdamTwin:
    """theta, m, v of one array; ``step`` takes its gradient."""

    def __init__(
        self,
        theta: np.ndarray,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        cap: float = 10.0,
    ) -> None:
        self.theta = np.array(theta)
        self.m = np.zeros_like(self.theta)
        self.v = np.zeros_like(self.theta)
        self.v_max = np.zeros_like(self.theta)
        self.t = 0
        self.lr, self.betas, self.eps = lr, betas, eps
        self.weight_decay, self.amsgrad, self.cap = weight_decay, amsgrad, cap
        self.mask_mean = 0.0

    def step(self, g: np.ndarray) -> None:
        beta1, beta2 = self.betas
        self.t += 1
        self.theta = self.theta * (1 - self.lr * self.weight_decay)
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g**2
        self.v_max = np.maximum(self.v_max, self.v)
        m_hat = self.m / (1 - beta1**self.t)
        v_hat = (self.v_max if self.amsgrad else self.v) / (1 - beta2**self.t)
        mask = (self.m * g > 0).astype(self.theta.dtype)
        self.mask_mean = float(mask.mean())
        scale = min(1 / max(self.mask_mean, 1e-3), self.cap)
        self.theta = self.theta - self.lr * scale * mask * m_hat / (np.sqrt(v_hat) + self.eps)
