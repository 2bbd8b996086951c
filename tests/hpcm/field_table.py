"""When each field of a run config acts, and another value for it: for test_every_field.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, get_args

from hpcm.schema import FieldInfo

# What has no say in the numbers, and why that is right.
EXEMPT = {
    "data.workers": "who loads a crop does not change it (tests/hpcm/training/test_data.py)",
    "data.cache": "nor does where its image is kept (same file)",
    "precision.threads": "how many cores add up, not what; in no digest",
    "precision.preset": "what fields that are null mean on a device (training/test_precision.py)",
    "precision.check_every": "when the host is told, not what is done (same file)",
    "precision.compile": "equal up to rounding (same file)",
    "precision.cuda_graph": "recorded steps have the bits of steps (training/test_graphs.py)",
    "precision.channels_last": "a layout in memory: equal up to rounding; see the test below",
    "validate_every": "how often one looks at the model",
    "model.name": "another network; see the test below, for a step of a large one takes seconds",
}


@dataclass(frozen=True)
class When:
    """Another value of a field, and what else must be set for the field to act."""

    value: Any
    active: Mapping[str, Any] = field(default_factory=dict)


def derived(info: FieldInfo) -> Iterator[When]:
    """Other values of a field that has no entry below, and what its class says that it needs.

    The section is chosen by its name, and has the settings of its class's ``example``, if any.
    """
    section, _, name = info.path.rpartition(".")
    own = {f.name: f.default for f in fields(info.owner)}
    needed = {f"{section}.{k}": v for k, v in getattr(info.owner, "example", {}).items()}
    for above in ABOVE.get(section, ({},)):
        if name == "name":
            yield When(own["name"], above)
            continue
        active = {**above, **needed}
        if own.get("name", MISSING) is not MISSING:
            active[f"{section}.name"] = own["name"]
        for value in others(info.annotation, active.get(info.path, own[name])):
            yield When(value, active)


def others(kind: Any, before: Any) -> list[Any]:
    """Values of type ``kind``, a number or a choice, that are not ``before``."""
    choices = [choice for choice in get_args(kind) if isinstance(choice, str | bool)]
    if kind is bool:
        choices = [True, False]
    numbers = []
    if not choices and (kind in (int, float) or {int, float} & set(get_args(kind))):
        start = before if isinstance(before, int | float) else 0
        numbers = [2 * start, start / 2, start + 0.5, 0.9, 0.1, 1e-3, 10.0, 1000.0]
        numbers = [int(n) for n in numbers] if isinstance(before, int) else numbers
    return [value for value in dict.fromkeys([*choices, *numbers]) if value != before]


def adam(**own: Any) -> dict[str, Any]:
    """The fields that every Adam has, and its own."""
    shared = {"lr": 3e-3, "one_minus_beta1": 0.4, "one_minus_beta2": 0.1, "eps": 1e-2}
    return {**shared, "weight_decay": 0.5, **own}


def famo(**own: Any) -> dict[str, Any]:
    """The fields that both FAMOs have, and their own."""
    shared = {"w_lr": 0.2, "offset": 5.0, "weight_update_every": 2, "min_weight": 0.15}
    return {**shared, "decay": "decoupled", **own}


def falling(balancer: Mapping[str, Any], schedule: str, **own: Any) -> dict[str, Any]:
    """A gamma schedule of its own, on a strong gamma."""
    return {"": {**balancer, "balancer.gamma_schedule.name": schedule}, "name": "fixed", **own}


def adaptive(balancer: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """An adaptive schedule, whose reactions are forced by bounds that every loss passes."""
    here = "balancer.gamma_schedule"
    flat = {f"{here}.flat": 50.0, f"{here}.noisy": 90.0}  # every loss counts as flat
    noisy = {f"{here}.flat": 1e-12, f"{here}.noisy": 1e-11}  # every loss counts as noisy
    start = {**balancer, f"{here}.name": "adaptive", "epochs": 7, "schedule_horizon": 30}
    return {
        "": start,
        "name": "fixed",
        "final": When(0.95, {**flat, f"{here}.down": 0.3}),
        "window": When(0.16, flat),
        "flat": When(1e-12, flat),
        "noisy": When(80.0, noisy),
        "down": When(0.6, flat),
        "up": When(1.05, noisy),
        "ceiling": When(1.1, {**noisy, f"{here}.up": 1.9}),
        **own,
    }


FAMO = {"balancer.name": "famo", "balancer.gamma": 0.5, "balancer.w_lr": 0.1}
SCALES = {
    "balancer.name": "famo_per_scale",
    "balancer.w_lr": 0.1,
    **{f"balancer.gamma_s{scale}": 0.5 for scale in (1, 2, 3)},
}
ABOVE = {"balancer.gamma_schedule": (FAMO, SCALES)}  # what has a section of this path
FIXED = {**SCALES, "balancer.gamma_schedule.name": "fixed"}
TERM = {"regularizers.inter_scale.delta": 0.05, "regularizers.inter_scale.start": 0.0}
TRUNCATION = {"regularizers.dct_truncation.end": 0.9}
PROGRESSIVE = {"parts.freeze": "progressive"}
# Scales stop after 7 epochs, for no fall of a loss is large enough to count.
STOPPING = {
    **{**FIXED, "epochs": 10, "data.crops_per_epoch": 4},
    **{"early_stopping.patience": 7, "early_stopping.min_delta": 1e6},
}
EXTENDED = {**STOPPING, "early_stopping.increase": 5, "early_stopping.threshold": 1e6}
LARGE = {"data.train": "large", "data.val": "large"}
LARGE_CROPS = {**LARGE, "data.patch": 192}  # of which MS-SSIM can be taken
COSINE = {"lr_schedule.name": "cosine"}

# Per config class: field -> another value, or When(...); "" is what the class itself needs.
FIELDS: dict[str, dict[str, Any]] = {
    "ModelConfig": {"": {"model.name": "hpcm_tiny", **LARGE}, "likelihood": "accurate"},
    "LossConfig": {"metric": When("ms_ssim", LARGE_CROPS), "lmbda": 0.05},
    "DataConfig": {
        **{"train": "grain", "val": "grain", "patch": 128, "batch_size": 1},
        "crops_per_epoch": 6,
        "holdout": When(2, {"data.val": None, "data.holdout": 1}),
    },
    "Adam": adam(name="cautious_adam"),
    "AdamW": {"": {"optimizer.name": "adamw"}, **adam(name="adam")},
    "CautiousAdam": {
        "": {"optimizer.name": "cautious_adam"},
        **adam(name="adam", cap=1.0),
        "amsgrad": When(True, {"optimizer.one_minus_beta2": 0.9}),
    },
    "Soap": {
        "": {"optimizer.name": "soap"},
        **adam(name="adam", precondition_every=1, max_dim=1),
    },
    "ScheduleFreeAdam": {
        "": {"optimizer.name": "schedule_free_adam"},
        **adam(name="adam", warmup_steps=5),
    },
    "Sum": {"name": "famo"},
    "Famo": {"": FAMO, **famo(name="sum", tasks="exact5", gamma=0.1, published=True)},
    "FamoPerScale": {
        "": FIXED,
        **famo(tasks="rate4", gamma_s1=0.1, gamma_s2=0.1, gamma_s3=0.1),
        "name": When("sum", {}),
        "scale_weights": [0.6, 0.2, 0.2],
        "published": When(True, {"balancer.tasks": "published5"}),
    },
    "Uncertainty": {
        "": {"balancer.name": "uncertainty", "balancer.w_lr": 0.2},
        **{"name": "sum", "tasks": "exact5", "w_lr": 0.05, "init": 1.0, "clamp": 0.1},
        **{"offset": 5.0, "published": True},
    },
    "Direct": {
        "": {"balancer.name": "direct", "balancer.w_lr": 0.2},
        **{"name": "sum", "tasks": "exact5", "w_lr": 0.05, "init": [0.9, 0.1]},
        **{"strength": 50.0, "published": True},
    },
    "LearnedShares": {"": {"balancer.name": "learned_shares"}, "name": "sum", "w_lr": 0.2},
    "Dwa": {"": {"balancer.name": "dwa"}, "name": "sum", "tasks": "exact5", "temperature": 0.5},
    "Mgda": {"": {"balancer.name": "mgda"}, "name": "sum", "tasks": "exact5", "log_losses": False},
    "UpGrad": {
        **{"": {"balancer.name": "upgrad"}, "name": "sum", "tasks": "exact5"},
        "log_losses": True,
    },
    "FixedGamma": {"": FAMO, "name": "linear"},
    "LinearGamma": falling(FAMO, "linear", final=0.9, warmup=0.5),
    "CosineGamma": falling(FAMO, "cosine", final=0.9, warmup=0.5),
    "StepGamma": falling(FAMO, "step", final=0.9, step=0.3, milestones=[0.7]),
    "AdaptiveGamma": adaptive(FAMO, warmup=0.15),
    "HpcmGamma": falling(FAMO, "hpcm"),
    "ScaleLinearGamma": falling(SCALES, "linear", final=0.9),
    "ScaleCosineGamma": falling(SCALES, "cosine", final=0.9),
    "ScaleAdaptiveGamma": adaptive(SCALES),
    "HierarchicalGamma": falling(SCALES, "hierarchical"),
    "InterScale": {
        "": TERM,
        **{"delta": 0.1, "mode": "repo", "latents": "nested", "start": 0.5, "align_lr": 1e-2},
    },
    "DctTruncation": {
        "": TRUNCATION,
        **{"tau_init": 0.2, "tau_final": 1.4, "end": 0.4, "rolloff": 0.5, "kind": "exponential"},
    },
    "LrSchedule": {"name": "cosine", "warmup": 0.5, "final": When(0.5, COSINE)},
    "PartRate": {
        **{"mult": 0.3, "warmup": 0.6, "decays": [0.5]},
        "decay_rate": lambda part: When(0.1, {f"parts.{part}.decays": [0.5]}),
    },
    "Parts": {
        "freeze": "entropy",
        "unfreeze_hyper": When(0.4, PROGRESSIVE),
        "unfreeze_context": When(0.8, PROGRESSIVE),
    },
    "EarlyStopping": {
        "patience": When(2, {**STOPPING, "early_stopping.patience": 0}),
        "min_delta": When(1e-9, STOPPING),
        "increase": When(0, EXTENDED),
        "max_patience": When(8, EXTENDED),
        "threshold": When(1e-9, EXTENDED),
        "published": When(True, {**EXTENDED, "early_stopping.threshold": 1.0}),
    },
    "Ema": {"decay": When(0.9, {"ema.decay": 0.5})},
    "Precision": {"autocast": "bfloat16"},
    "TrainConfig": {
        **{"clip_max_norm": 1e6, "epochs": 3, "seed": 1, "start_from": "trained.pt"},
        "schedule_horizon": When(8, COSINE),
    },
}

# FixedGamma is in two unions; the second is under the balancer per scale.
SECOND = {"FixedGamma": When("linear", FIXED)}
