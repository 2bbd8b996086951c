"""No field of a run config is inert: each changes the training under the condition it acts in.

The fields are walked, not listed. What makes one act, and another value, say the entries of
field_table.py; a field that has none there is given other values until one changes the training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from hpcm import ConfigError, Diverged, TrainConfig, train
from hpcm.optimizers import OPTIMIZERS, Adam
from hpcm.schema import FieldInfo, config_class, fields_of, set_path
from hpcm.training.run import Run
from tests.conftest import synthetic_image
from tests.hpcm.field_table import EXEMPT, FIELDS, SCALES, SECOND, When, derived
from tests.toy_codec import ToyCodec

pytestmark = pytest.mark.filterwarnings(
    "ignore:balancer learned_shares degenerates", "ignore:precision.autocast. bfloat16. this CPU"
)

# What is only scored, and the score that it changes.
SCORED = {"data.val": "val_rd_cost", "ema.decay": "val_ema_rd_cost"}


def walked() -> Iterator[tuple[str, FieldInfo, When | None]]:
    """Every field that is not exempt, with its entry: id, the field, the entry."""
    seen: set[str] = set()
    for info in fields_of(TrainConfig):
        if info.path in EXEMPT:
            continue
        name = f"{info.owner.__name__}.{info.path.rpartition('.')[2]}"
        key = f"{name} {info.path}"
        yield key, info, entry(info, again=key in seen)
        seen.add(key)


def entry(info: FieldInfo, again: bool = False) -> When | None:
    """What FIELDS says of a field, in full; None where it says nothing."""
    if again:
        return SECOND.get(info.owner.__name__)
    *parents, name = info.path.split(".")
    of_class = FIELDS.get(info.owner.__name__, {})
    found = of_class.get(name)
    if callable(found):
        found = found(parents[-1])
    if found is None:
        return None
    when = found if isinstance(found, When) else When(found)
    return When(when.value, {**of_class.get("", {}), **when.active})


class EveryPart(ToyCodec):
    """The toy with parameters in each part, and some of the context that belong to one scale."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("h_a", "h_s", "attn_s1", "attn_s2", "attn_s3"):
            self.add_module(name, nn.Conv2d(3, 3, 1))

    def forward(self, x: Tensor, noise: dict[str, Tensor] | None = None) -> dict[str, object]:
        front = [self.h_a, self.h_s, self.attn_s1, self.attn_s2, self.attn_s3]
        return super().forward(x + 0.1 * sum(layer(x) for layer in front), noise)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for seed, (name, side) in enumerate({"waves": 128, "grain": 128, "large": 256}.items()):
        (root / name).mkdir()
        for index in range(3):
            picture = synthetic_image(side, side, 10 * seed + index)
            Image.fromarray(picture).save(root / name / f"{index}.png")
    torch.manual_seed(4)
    torch.save(EveryPart().state_dict(), root / "trained.pt")
    return root


@pytest.fixture(autouse=True)
def _images(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCM_DATA", str(data_root))
    monkeypatch.setenv("HPCM_CHECKPOINTS", str(data_root))


def config(settings: Mapping[str, Any]) -> TrainConfig:
    """Four epochs of one step, all of the horizon; tiny models see whole images."""
    plain: dict[str, Any] = {}
    data = {"train": "waves", "val": "waves", "patch": 64, "batch_size": 2, "crops_per_epoch": 2}
    start = {f"data.{name}": value for name, value in data.items()}
    start |= {"data.workers": 0, "optimizer.lr": 1e-2, "epochs": 4, "schedule_horizon": 4}
    start |= {"data.cache": "memory", "validate_every": 100}
    if settings.get("model.name") == "hpcm_tiny":
        start |= {"data.patch": 256, "data.batch_size": 1, "data.crops_per_epoch": 1, "epochs": 1}
    for path, value in {**start, **settings}.items():
        set_path(plain, path, value)
    return TrainConfig.from_plain(plain, "test")


@cache
def trained(settings: str) -> dict[str, Any]:
    """The weights after a training, or the reason why it ended; and its last report."""
    cfg = config(json.loads(settings))
    torch.manual_seed(3)
    model = EveryPart() if cfg.model.name == "hpcm_base" else None
    run_model = model if model is not None else Run.build(cfg, None, "cpu").model
    try:
        reports = [report.metrics for report in train(cfg, model=run_model, device="cpu")]
    except Diverged as error:
        return {"diverged": error.reason}
    return {"weights": run_model.state_dict(), "metrics": reports[-1]}


def differ(one: dict[str, Any], other: dict[str, Any], path: str) -> bool:
    """Whether two trainings ended elsewhere; of what is only validated, whether it scores so."""
    if "diverged" in one or "diverged" in other:
        return one.get("diverged") != other.get("diverged")
    if path in SCORED:
        return one["metrics"][SCORED[path]] != other["metrics"][SCORED[path]]
    weights = one["weights"].items()
    return any(not torch.equal(value, other["weights"][name]) for name, value in weights)


@pytest.mark.parametrize(("info", "when"), [pytest.param(i, w, id=k) for k, i, w in walked()])
def test_every_field_changes_the_training(info: FieldInfo, when: When | None) -> None:
    owner, name = info.owner.__name__, info.path.rpartition(".")[2]
    if when is not None:
        assert acts(info, when), f"{info.path} = {when.value!r} changes nothing"
    else:
        tried = [other for other in derived(info) if can_be(info, other)]
        assert any(acts(info, other) for other in tried), (
            f"{info.path} of {owner}: {[other.value for other in tried]} change nothing. Let the "
            "class have `example: ClassVar`, settings of its section under which every field acts, "
            f"or add '{name}' to FIELDS['{owner}'] in tests/hpcm/field_table.py, or its path to "
            "EXEMPT with the reason"
        )


def acts(info: FieldInfo, when: When) -> bool:
    """Whether the value changes the training."""
    before = trained(json.dumps(dict(when.active)))
    assert "weights" in before, f"the plain side of {info.path}: {before}"
    after = trained(json.dumps({**active_for(when, info), info.path: when.value}))
    return differ(before, after, info.path)


def can_be(info: FieldInfo, when: When) -> bool:
    """Whether a config may have the value."""
    try:
        config({**when.active, info.path: when.value})
    except ConfigError:
        return False
    return True


def active_for(when: When, info: FieldInfo) -> dict[str, Any]:
    """The condition; where a part is exchanged for another, without the fields of the first."""
    parent, _, name = info.path.rpartition(".")
    if name != "name":
        return dict(when.active)
    return {k: v for k, v in when.active.items() if not k.startswith(f"{parent}.")}


def test_the_same_config_trains_to_the_same_bits() -> None:
    """Else any field would seem to act."""
    once, again = (trained.__wrapped__(json.dumps(SCALES)) for _ in range(2))
    assert not differ(once, again, "seed")


def test_the_tables_have_no_dead_entries() -> None:
    known = list(fields_of(TrainConfig))
    assert EXEMPT.keys() <= {info.path for info in known}
    named = {(owner, name) for owner, fields in FIELDS.items() for name in fields if name}
    exist = {(info.owner.__name__, info.path.rpartition(".")[2]) for info in known}
    assert named <= exist, f"no longer a field: {named - exist}"


def test_a_field_that_changes_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    @config_class
    class Deaf(Adam):
        name: Literal["deaf"] = "deaf"  # type: ignore[assignment]
        nesterov: bool = False

    monkeypatch.setitem(OPTIMIZERS, "deaf", Deaf)
    found = {info.path: info for info in fields_of(TrainConfig) if info.owner is Deaf}
    assert all(entry(info) is None for info in found.values())
    test_every_field_changes_the_training(found["optimizer.weight_decay"], None)
    with pytest.raises(AssertionError, match=r"nesterov of Deaf: \[True\] change nothing"):
        test_every_field_changes_the_training(found["optimizer.nesterov"], None)


def test_the_name_of_the_model_gives_another_network() -> None:
    models = [
        Run.build(config({"model.name": n}), None, "cpu").model for n in ("hpcm_tiny", "hpcm_phi")
    ]
    shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in models]
    assert shapes[0] != shapes[1]


def test_channels_last_is_laid_out_so_and_trains_to_the_same() -> None:
    cfg = config({"precision.channels_last": True})
    model = Run.build(cfg, EveryPart(), "cpu").model
    assert model.g_a.weight.is_contiguous(memory_format=torch.channels_last)
    one_step = {"epochs": 1, "data.crops_per_epoch": 2}
    other = {**one_step, "precision.channels_last": True}
    layouts = [trained(json.dumps(settings)) for settings in (one_step, other)]
    losses = [layout["metrics"]["train/loss"] for layout in layouts]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_threads_are_torchs() -> None:
    before = torch.get_num_threads()
    try:
        Run.build(config({"precision.threads": 2}), EveryPart(), "cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
