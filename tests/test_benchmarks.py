"""The measurements run; what they measure is not asserted."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from benchmarks import parity
from benchmarks.__main__ import main
from benchmarks.optimizer_step import OPTIMIZERS, measure
from benchmarks.plain_codec import plain_decode, plain_encode
from benchmarks.search_driver import measure as measure_driver
from benchmarks.search_slots import waits
from benchmarks.search_whole import Meter
from benchmarks.search_whole import measure as measure_whole
from hpcm.model import build_model
from hpcm.model.codec import decode_image, encode_image
from tests.reference.fill_weights import fill_model


def test_optimizer_step_measures_every_optimizer() -> None:
    seconds = measure([torch.Size((3, 4)), torch.Size((5,))], rounds=2, device="cpu")
    assert list(seconds) == list(OPTIMIZERS)
    assert all(len(taken) == 2 and min(taken) > 0 for taken in seconds.values())


def test_the_straightforward_codec_writes_our_bytes_and_reads_them(
    image_batch: Callable[..., torch.Tensor],
) -> None:
    model = fill_model(build_model("hpcm_tiny"), seed=4).eval()
    x = image_batch(height=256, width=512)
    coded = encode_image(model, x)
    assert plain_encode(model, x) == (coded.y, coded.z)
    decoded = plain_decode(model, coded.y, coded.z, coded.shape)
    assert torch.equal(decoded, decode_image(model, coded))


@pytest.mark.parametrize("scheduler", ["asha", "promote"])
def test_a_search_of_the_driver_alone(scheduler: str) -> None:
    found = measure_driver(trials=110, slots=4, scheduler=scheduler)
    assert found["reports"] > found["decisions"] >= 110
    assert found["at_100"]["report_milliseconds"]["median"] > 0
    assert set(found["bytes_per_trial"]) == {"ledger", "study"}
    assert all(value > 0 for value in found["bytes_per_trial"].values())


def test_the_wait_of_a_slot_is_from_one_trial_to_the_next() -> None:
    seen = [("first", 0), ("first", 1), ("last", 60), ("last", 61), ("first", 63), ("first", 62)]
    found = waits("".join(f"{what} {at} 2.5\n" for what, at in seen), seconds=60.0)
    assert found["waits_seconds"] == [2.0, 2.0]
    assert (found["idle_share"], found["cpu_seconds"]) == (4 / 124, 2.5)


def test_the_driver_is_looked_at_as_a_search_grows() -> None:
    meter = Meter()
    for number in range(520):
        meter.on_trial_result(0, [], SimpleNamespace(config={"trial": number}), {})
    assert {mark: state["reports"] for mark, state in meter.marks.items()} == {
        0: 1,
        100: 100,
        500: 500,
    }


@pytest.mark.slow
@pytest.mark.ray
def test_a_whole_search_on_ray_is_measured() -> None:
    found = measure_whole(trials=6, slots=2, seconds=0.05)
    assert found["reports"] >= 6
    assert found["own_report_milliseconds"]["median"] > 0
    assert all(size > 0 for size in found["bytes_per_trial"].values())


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_device_computes_what_a_cpu_does(device: str) -> None:
    differences = parity.differences(device)
    assert differences.keys() == parity.BOUNDS.keys()
    assert all(value <= parity.BOUNDS[name] for name, value in differences.items())
    streams = parity.streams(device)
    assert len(streams) == (2 if device == "cpu" else 8)
    assert not [name for name, found in streams.items() if found.startswith("WRONG")]


def test_a_difference_above_its_bound_ends_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    far = dict.fromkeys(parity.BOUNDS, 0.0) | {"bpp": float("nan")}
    monkeypatch.setattr(parity, "differences", lambda _: far)
    monkeypatch.setattr(parity, "streams", lambda _: {"portable, a to b": "WRONG: refused"})
    monkeypatch.setattr(parity, "write_record", lambda *_: None)
    with pytest.raises(SystemExit, match="not equal: bpp, portable, a to b"):
        parity.main(["--device", "cpu"])


@pytest.mark.parametrize("arguments", [[], ["record"], ["nothing"]])
def test_an_unknown_measurement_lists_the_known(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "search,search_policy,train_step" in capsys.readouterr().err


def test_arguments_reach_the_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["optimizer_step", "--help"])
    assert "--rounds" in capsys.readouterr().out
