"""FAMO's task weights as the formulas read, per task, with loops. Slow and obvious."""

from __future__ import annotations

import numpy as np

EPS = 1e-8


class FamoTwin:
    """w of n tasks. ``scale_of`` and ``scale_weights`` give the hierarchical forms."""

    def __init__(
        self,
        gammas: list[float],
        w_lr: float,
        floors: list[float],
        scale_of: list[int | None] | None = None,
        scale_weights: list[float] | None = None,
        published: bool = True,
        decoupled: bool = False,
        min_weight: float = 0.0,
    ) -> None:
        n = len(gammas)
        self.gammas, self.w_lr, self.floors = gammas, w_lr, floors
        self.decoupled, self.min_weight, self.published = decoupled, min_weight, published
        self.w, self.m, self.v, self.t = np.zeros(n), np.zeros(n), np.zeros(n), 0
        self.modulation = np.ones(n)
        if scale_of is not None and scale_weights is not None:
            for i, scale in enumerate(scale_of):
                share = 1 / 3 if scale is None else scale_weights[scale - 1]
                alone = published or scale is None
                self.modulation[i] = share / (1 if alone else scale_of.count(scale))

    def softmax(self) -> np.ndarray:
        e = np.exp(self.w - self.w.max())
        return e / e.sum()

    def shares(self) -> np.ndarray:
        return self.min_weight + (1 - len(self.w) * self.min_weight) * self.softmax()

    def modulated(self) -> np.ndarray:
        weighted = self.shares() * self.modulation
        return weighted / weighted.sum()

    def weigh(self, losses: list[float]) -> tuple[np.ndarray, float]:
        above = [loss - floor + EPS for loss, floor in zip(losses, self.floors, strict=True)]
        z, z_modulated = self.shares(), self.modulated()
        in_c = z if self.published else z_modulated
        c = sum(share / d for share, d in zip(in_c, above, strict=True))
        q = np.array([share / d / c for share, d in zip(z_modulated, above, strict=True)])
        return q, sum(s * np.log(d) / c for s, d in zip(z_modulated, above, strict=True))

    def update(self, before: list[float], after: list[float]) -> None:
        z = self.softmax()
        delta = np.array(
            [
                np.log(b - floor + EPS) - np.log(a - floor + EPS)
                for b, a, floor in zip(before, after, self.floors, strict=True)
            ]
        )
        mean = sum(z * delta)
        self.t += 1
        for i in range(len(self.w)):
            g = (1 - len(self.w) * self.min_weight) * z[i] * (delta[i] - mean)
            if self.decoupled:
                self.w[i] *= 1 - self.w_lr * self.gammas[i]
            else:
                g += self.gammas[i] * self.w[i]
            self.m[i] = 0.9 * self.m[i] + 0.1 * g
            self.v[i] = 0.999 * self.v[i] + 0.001 * g * g
            m_hat = self.m[i] / (1 - 0.9**self.t)
            v_hat = self.v[i] / (1 - 0.999**self.t)
            self.w[i] -= self.w_lr * m_hat / (np.sqrt(v_hat) + 1e-8)
