"""HPCM: `MODELS` names the variants, `build_model` makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from hpcm.choices import NameOf
from hpcm.model.spec import BASE, LARGE, ONE_B, PHI, TINY, HPCMSpec
from hpcm.schema import ConfigError, config_class, did_you_mean

if TYPE_CHECKING:
    from hpcm.model.hpcm import HPCM

MODELS: dict[str, HPCMSpec] = {
    "hpcm_base": BASE,
    "hpcm_tiny": TINY,
    "hpcm_large": LARGE,
    "hpcm_phi": PHI,
    "hpcm_1b": ONE_B,
}


@config_class
class ModelConfig:
    """Which variant, and how its likelihoods are computed."""

    name: Annotated[str, NameOf(MODELS)] = "hpcm_base"  # the variant
    # as the authors', a float32 difference of two cdf values; or with the tails done right
    likelihood: Literal["published", "accurate"] = "published"


def build_model(model: str | ModelConfig) -> HPCM:
    """A freshly initialised model, from a name in `MODELS` or a config. Raises ConfigError."""
    from hpcm.model.hpcm import HPCM

    if isinstance(model, str):
        if model not in MODELS:
            raise ConfigError(f"model.name: {model!r} is unknown{did_you_mean(model, MODELS)}")
        return HPCM(MODELS[model])
    return HPCM(MODELS[model.name], likelihood=model.likelihood)
