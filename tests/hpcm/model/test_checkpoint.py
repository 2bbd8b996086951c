"""Files of weights: the authors' and ours load; what does not fit is refused with its first key."""

from __future__ import annotations

import math
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hpcm.model import build_model
from hpcm.model.checkpoint import (
    load_model,
    load_weights,
    read_weights,
    recognise,
    save_weights,
)
from hpcm.model.hpcm import TABLE_BUFFERS
from hpcm.schema import ConfigError

State = dict[str, Tensor]
Model = Callable[..., nn.Module]


@pytest.fixture
def state(tiny_model: Model) -> State:
    """A trained-looking state: gains that are not 1."""
    model = tiny_model(seed=1)
    with torch.no_grad():
        for gain in model.adaptive_params_list:
            gain.add_(torch.rand_like(gain))
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[object], Path]:
    def save(content: object) -> Path:
        path = tmp_path / "weights.pth"
        torch.save(content, path)
        return path

    return save


def assert_same(model: nn.Module, state: State) -> None:
    own = model.state_dict()
    assert list(own) == list(state)
    for key, value in state.items():
        assert torch.equal(own[key], value), key


def test_bare_state_dict(state: State, write: Callable[[object], Path]) -> None:
    assert_same(load_model(write(state)), state)


def test_wrapped_in_data_parallel(state: State, write: Callable[[object], Path]) -> None:
    path = write({f"module.{key}": value for key, value in state.items()})
    assert_same(load_model(path), state)


def test_inside_a_training_checkpoint(state: State, write: Callable[[object], Path]) -> None:
    assert_same(load_model(write({"epoch": 3, "state_dict": state})), state)


def test_gains_absent_as_in_the_published_files(
    state: State, write: Callable[[object], Path]
) -> None:
    """They were 1 in training, whatever the model that loads them holds."""
    without = {k: v for k, v in state.items() if not k.startswith("adaptive_params_list.")}
    model = build_model("hpcm_tiny")
    model.load_state_dict(state)
    load_weights(model, read_weights(write(without)), "weights.pth")
    assert_same(model, {k: torch.ones_like(v) if k not in without else v for k, v in state.items()})


def test_filled_code_tables(tiny_model: Model, write: Callable[[object], Path]) -> None:
    """Tables travel with the weights, and with a plain load_state_dict into a fresh model."""
    model = tiny_model(seed=2)
    model.update()
    loaded = load_model(write(model.state_dict()))
    assert_same(loaded, model.state_dict())
    fresh = build_model("hpcm_tiny")
    fresh.load_state_dict(model.state_dict())
    assert_same(fresh, model.state_dict())
    assert not fresh.update(), "the tables are there"


def test_empty_tables_replace_filled_ones(state: State, tiny_model: Model) -> None:
    model = tiny_model()
    model.update()
    model.load_state_dict(state)
    assert model.cdf_length_y.numel() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("g_a.branch.0.bias"), "'g_a.branch.0.bias' is missing"),
        (lambda s: s.update({"g_s.extra": torch.zeros(1)}), "'g_s.extra' is no part of the model"),
        (
            lambda s: s.update({"h_a.branch.1.weight": torch.zeros(32, 32, 3, 3)}),
            r"'h_a.branch.1.weight' has shape \(32, 32, 3, 3\), not \(32, 32, 2, 2\)",
        ),
        (
            lambda s: s.update({"means_hyper": torch.zeros(1, 32, 1, 1, dtype=torch.int64)}),
            "'means_hyper' holds torch.int64",
        ),
        (lambda s: s.pop("adaptive_params_list.4"), "'adaptive_params_list.4' is missing"),
    ],
)
def test_first_differing_key(
    state: State,
    write: Callable[[object], Path],
    change: Callable[[State], object],
    message: str,
) -> None:
    change(state)
    path = write(state)
    with pytest.raises(ConfigError, match=message):
        load_model(path, "hpcm_tiny")
    with pytest.raises(ConfigError, match=rf"of no variant; nearest to hpcm_tiny: {message}"):
        load_model(path)


def test_another_variant_is_named(state: State, write: Callable[[object], Path]) -> None:
    with pytest.raises(ConfigError, match="as hpcm_base: does not fit: 'means_hyper' has shape"):
        load_model(write(state), "hpcm_base")


@pytest.mark.parametrize("name", ["hpcm_base", "hpcm_tiny", "hpcm_large", "hpcm_phi", "hpcm_1b"])
def test_every_variant_is_recognised(name: str) -> None:
    with torch.device("meta"):
        state = build_model(name).state_dict()
    assert recognise(state, "weights.pth") == name


class Command:
    """What a hostile pickle holds."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


def test_code_in_a_file_never_runs(
    write: Callable[[object], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="not a file of weights: it holds more than tensors"):
        read_weights(write({"g_a.branch.0.weight": Command()}))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds list, not a state dict"),
        ({}, "holds no state dict"),
        ({"epoch": 3}, "'epoch' is int, not a named tensor"),
        ({"format": "hpcm-tune weights 1", "model": "hpcm_bas", "about": {}}, "'hpcm_bas' is unk"),
        ({"format": "hpcm-tune weights 1", "model": "hpcm_base", "about": {}}, "no state dict"),
        ({"format": "hpcm-tune weights 1", "model": ["x"], "about": {}}, r"\['x'\] is unknown"),
        ({"format": "hpcm-tune weights 1", "model": {"x": 1}, "about": {}}, "{'x': 1} is unkn"),
        ({"format": "hpcm-tune weights 1", "model": "hpcm_base"}, "about: NoneType, not a map"),
        (
            {"format": "hpcm-tune weights 1", "model": "hpcm_base", "about": {"lmbda": [1]}},
            "about.'lmbda': list, not text or a number",
        ),
        (
            {"format": "hpcm-tune weights 1", "model": "hpcm_base", "about": {"config_digest": 1}},
            "about.'config_digest': int, not text or a number",
        ),
        ({"format": torch.zeros(2), "x": torch.zeros(2).to_sparse()}, "'x' is sparse"),
        ({"x": torch.zeros(2, device="meta")}, r"'x' is empty \(of the device meta\)"),
        ({"x": torch.zeros(2, dtype=torch.complex64)}, "'x' is complex"),
        ({"x": torch.zeros(1).expand(10**12)}, "'x' is larger than its numbers, which it repeats"),
    ],
)
def test_other_contents_are_refused(
    write: Callable[[object], Path], content: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_weights(write(content))


def test_files_that_are_no_checkpoint(state: State, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_weights(tmp_path / "absent.pth")
    garbage, cut = tmp_path / "garbage.pth", tmp_path / "cut.pth"
    garbage.write_bytes(b"\x89PNG not weights at all")
    torch.save(state, cut)
    cut.write_bytes(cut.read_bytes()[:5000])
    for path in (garbage, cut):
        with pytest.raises(ConfigError, match="not a file of weights"):
            read_weights(path)


def test_nothing_is_inflated(
    state: State, write: Callable[[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few MiB of zeros, deflated, are a GiB; torch would take it before anything is compared."""
    path = write(state | {"g_a.branch.0.weight": torch.zeros(10**7)})
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(path.parent / "small.pt", "w", 8) as small:
        for info in whole.infolist():
            small.writestr(info.filename, whole.read(info))
    assert (path.parent / "small.pt").stat().st_size < path.stat().st_size / 5
    monkeypatch.setattr("torch.load", lambda *_, **__: pytest.fail("it was inflated"))
    with pytest.raises(ConfigError, match=r"not a file of weights: it is compressed, 4\d,\d{3},"):
        read_weights(path.parent / "small.pt")


def test_what_is_no_file_of_weights_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(ConfigError, match=r"pipe\.pt: cannot be read: a pipe, not a file"):
        read_weights(tmp_path / "pipe.pt")


@pytest.mark.parametrize(("value", "count"), [(math.nan, 1), (math.inf, 2)])
def test_weights_that_are_not_finite_are_refused(
    state: State, write: Callable[[object], Path], value: float, count: int
) -> None:
    """Else they evaluate to a rate of nan, with exit code 0."""
    key = "h_a.branch.1.weight"
    state[key].view(-1)[:count] = value
    message = (
        f"'{key}' is not finite: {count} of its 4096 numbers {'is' if count == 1 else 'are'} NaN"
    )
    with pytest.raises(ConfigError, match=message):
        load_model(write(state))


def test_why_a_file_holds_no_weights(state: State, tmp_path: Path) -> None:
    """One line for each; torch warns of the protocol before it refuses (warnings are errors)."""
    empty, cut, evil = (tmp_path / name for name in ("empty.pth", "cut.pth", "evil.pth"))
    empty.touch()
    cut.write_bytes(pickle.dumps(1)[:-1])
    evil.write_bytes(pickle.dumps(Command(), protocol=4))
    for path, reason in (
        (empty, "it is empty"),
        (cut, "it is of another kind, or damaged|it ends too early"),
        (evil, "it holds more than tensors|it is of another kind, or damaged"),
    ):
        with pytest.raises(ConfigError, match=f"{path}: not a file of weights: ({reason})$"):
            read_weights(path)


def test_bad_tables_are_refused(tiny_model: Model, write: Callable[[object], Path]) -> None:
    """The coder would read beyond them."""
    model = tiny_model()
    model.update()
    for name, value in (
        ("cdf_length_y", torch.full((60,), 5000, dtype=torch.int32)),
        ("cdf_length_z", torch.full((31,), 5, dtype=torch.int32)),
        ("quantized_cdf_z", model.quantized_cdf_z.flip(1)),
        ("offset_y", torch.zeros(0)),
        ("offset_y", torch.full((60,), 2**30, dtype=torch.int32)),
    ):
        path = write({**model.state_dict(), name: value})
        with pytest.raises(ConfigError, match=f"quantized_cdf_{name[-1]}.*are no tables"):
            load_model(path)


def test_ours_names_its_variant_and_theirs_is_bare(tiny_model: Model, tmp_path: Path) -> None:
    model = tiny_model(seed=3)
    model.update()
    ours, theirs = tmp_path / "ours.pt", tmp_path / "theirs.pth"
    save_weights(model, ours, "hpcm_tiny", {"lmbda": 0.013})
    weights = read_weights(ours)
    assert (weights.variant, weights.about) == ("hpcm_tiny", {"lmbda": 0.013})
    assert_same(load_model(ours), model.state_dict())

    save_weights(model, theirs)
    content = torch.load(theirs, weights_only=True)
    assert list(content) == list(model.state_dict())
    assert all(content[name].shape == (0,) for name in TABLE_BUFFERS)
    back = load_model(theirs)
    back.update()
    assert_same(back, model.state_dict())


def test_unwritable_target(tiny_model: Model, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        save_weights(tiny_model(), tmp_path / "absent" / "weights.pth")
