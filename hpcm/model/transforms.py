"""g_a, g_s, h_a, h_s: chains of strided convolutions and residual blocks, built from a spec."""

from __future__ import annotations

from torch import nn

from hpcm.model.blocks import DownConv, UpConv, named_chain, partial_block
from hpcm.model.spec import Blocks, Down, HPCMSpec, Stage


def build_transform(stages: tuple[Stage, ...], inputs: int, spec: HPCMSpec) -> nn.Sequential:
    """The chain of ``stages`` on ``inputs`` channels, with the published state-dict names.

    A stage with a name is one child of that name; the layers of others are numbered through.
    """
    layers: list[tuple[str, nn.Module]] = []
    width = inputs
    for stage in stages:
        if isinstance(stage, Blocks):
            blocks = [
                partial_block(width, spec.partial, spec.expansion) for _ in range(stage.count)
            ]
            if stage.name:
                layers.append((stage.name, nn.Sequential(*blocks)))
            else:
                layers += [(str(len(layers) + i), block) for i, block in enumerate(blocks)]
            continue
        make = DownConv if isinstance(stage, Down) else UpConv
        layers.append((stage.name or str(len(layers)), make(stage.kernel, width, stage.width)))
        width = stage.width
    chain = named_chain(layers)
    return named_chain([(spec.chain_prefix, chain)]) if spec.chain_prefix else chain
