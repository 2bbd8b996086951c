"""What has to be the same on every node, and what is said where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from hpcm import ConfigError
from tests.tuning.fake_training import train
from tests.tuning.lr_space import lr_space
from tuning.on_ray import node_checks, node_facts
from tuning.on_ray.diagnosis import NodeUnfitError
from tuning.on_ray.node_checks import MARKER, SharedPaths, check_nodes, look_around, others_that_fit
from tuning.on_ray.node_facts import Inputs, Reference, differences
from tuning.on_ray.trainable import TrialContext, run_trial
from tuning.spaces.sections import Resources

HERE = "10.0.0.1"


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The image set `pictures`, two images."""
    folder = tmp_path / "data" / "pictures"
    folder.mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (64, 64 + number)).save(folder / f"{number}.png")
    monkeypatch.setenv("HPCM_DATA", str(tmp_path / "data"))
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_facts.ray.util, "get_node_ip_address", lambda: HERE)
    node_facts.facts_of.cache_clear()


def test_a_machine_agrees_with_itself(pictures: Path) -> None:
    inputs = Inputs(("pictures", "sample"), ("sample",))
    facts = node_facts.node_facts(inputs)
    assert list(facts) == [
        "python",
        "torch",
        "numpy",
        "code of hpcm-tune",
        "image set pictures",
        "image set sample",
        "weights sample",
    ]
    assert facts["image set pictures"].startswith("2 images, ")
    assert differences(facts, node_facts.node_facts(inputs)) == []


def test_other_images_are_seen(pictures: Path) -> None:
    inputs = Inputs(("pictures",))
    mine = node_facts.node_facts(inputs)
    Image.new("RGB", (64, 64)).save(pictures / "1.png")  # another size
    (changed,) = differences(mine, node_facts.node_facts(inputs))
    assert changed.startswith("image set pictures is 2 images, ")
    shutil.rmtree(pictures)
    (lost,) = differences(mine, node_facts.node_facts(inputs))
    assert lost.startswith("image set pictures is not readable (image set 'pictures'")


def test_what_torch_was_built_for_does_not_matter_and_its_release_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A head without a GPU has another build of the same release."""
    mine = node_facts.node_facts(Inputs()) | {"torch": "2.15.0"}
    for version, differs in (("2.15.0+cpu", False), ("2.14.1+cu130", True)):
        monkeypatch.setattr(node_facts, "version", lambda package, version=version: version)
        theirs = node_facts.node_facts(Inputs())
        assert ("torch is 2.14.1, the driver's 2.15.0" in differences(mine, theirs)) is differs


def test_one_byte_of_the_code_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hpcm", "tuning"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "part.py").write_text("x = 1\n")
        (tmp_path / name / "notes.txt").write_text("not code")
    monkeypatch.setattr(node_facts.hpcm, "__file__", str(tmp_path / "hpcm" / "__init__.py"))
    monkeypatch.setattr(node_facts, "__file__", str(tmp_path / "tuning" / "node_facts.py"))
    before = node_facts.code_digest()
    (tmp_path / "tuning" / "notes.txt").write_text("other notes")
    assert node_facts.code_digest() == before
    (tmp_path / "tuning" / "sub" / "part.py").write_text("x = 2\n")
    assert node_facts.code_digest() != before


def test_a_late_node_is_looked_at_by_its_first_trial_and_a_known_one_is_not(
    pictures: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = Inputs(("pictures",))
    facts = node_facts.node_facts(inputs)
    late, known = (Reference(inputs, facts, frozenset(a)) for a in ((), (HERE,)))
    late.check()
    (pictures / "1.png").unlink()
    late.check()  # once in a process
    node_facts.facts_of.cache_clear()
    with pytest.raises(NodeUnfitError, match="image set pictures is 1 images, .* the driver's 2"):
        late.check()
    known.check()
    with pytest.raises(NodeUnfitError):
        known.recheck()


def test_a_trial_does_not_answer_for_its_node(
    tmp_path: Path, pictures: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images were unmounted: not a config that is refused, which would end the search."""
    messages: list[Any] = []
    monkeypatch.setattr("ray.tune.report", messages.append)
    monkeypatch.setenv("FAKE_TRAINING", str(tmp_path))
    inputs = Inputs(("pictures",))
    reference = Reference(inputs, node_facts.node_facts(inputs), frozenset({HERE}))
    directory = tmp_path / "rates-x"
    directory.mkdir()

    def refuse(*_: Any, **__: Any) -> Any:
        raise ConfigError("data.train: no such set")

    sampled = {"trial": 1, "optimizer.lr": 1e-4}
    run_trial(sampled, TrialContext(lr_space(tmp_path), directory, refuse, reference))
    assert messages == [
        {"failed": "refused: data.train: no such set"}
    ]  # the node is as it should be
    shutil.rmtree(pictures)
    with pytest.raises(NodeUnfitError, match="pictures is not readable"):
        run_trial(sampled, TrialContext(lr_space(tmp_path), directory, refuse, reference))
    late = Reference(inputs, reference.facts, frozenset())
    with pytest.raises(NodeUnfitError):
        run_trial(sampled, TrialContext(lr_space(tmp_path), directory, train, late))
    assert len(messages) == 1


def node(address: str, gpu: float, alive: bool = True) -> dict[str, Any]:
    return {
        "NodeManagerAddress": address,
        "NodeManagerHostname": f"host-{address[-1]}",
        "NodeID": f"id-{address[-1]}",
        "Alive": alive,
        "Resources": {"CPU": 8.0, "GPU": gpu},
    }


def test_nodes_that_may_run_a_trial_are_asked() -> None:
    nodes = [node(HERE, 1), node("10.0.0.2", 1), node("10.0.0.3", 0), node("10.0.0.4", 1, False)]
    nodes.append(node("10.0.0.2", 1))  # a second one at the same address
    assert list(others_that_fit(nodes, Resources(gpu=1, cpu=8), HERE)) == ["10.0.0.2"]


def test_nodes_that_differ_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = node_facts.node_facts(Inputs())
    monkeypatch.setattr(node_checks.ray.util, "get_node_ip_address", lambda: HERE)
    nodes = [node(HERE, 1), *(node(f"10.0.0.{n}", 1) for n in (2, 3, 4))]
    monkeypatch.setattr(node_checks.ray, "nodes", lambda: nodes)
    answers = {"10.0.0.2": (mine, []), "10.0.0.3": (mine, []), "10.0.0.4": (mine, [])}
    monkeypatch.setattr(node_checks, "_ask", lambda *_: answers)
    reference = check_nodes(Inputs(), {}, Resources(gpu=1, cpu=1), SharedPaths((tmp_path,)))
    assert reference.agreed == {HERE, "10.0.0.2", "10.0.0.3", "10.0.0.4"}
    answers["10.0.0.3"] = (mine | {"torch": "2.8.0"}, [])
    answers["10.0.0.4"] = (mine, ["/mnt/x is not there, or not the same folder"])
    with pytest.raises(ConfigError) as caught:
        check_nodes(Inputs(), {}, Resources(gpu=1, cpu=1), SharedPaths((tmp_path,)))
    _, *lines = str(caught.value).splitlines()
    assert lines[:2] == [
        f"  host-3 (10.0.0.3): torch is 2.8.0, the driver's {mine['torch']}",
        "  host-4 (10.0.0.4): /mnt/x is not there, or not the same folder",
    ]


def test_a_node_says_what_is_wrong_with_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen() -> list[str]:
        return look_around(Inputs(), SharedPaths((tmp_path / "shared",)), "abc")[1]

    assert seen() == [f"{tmp_path}/shared is not there, or not the same folder"]
    (tmp_path / "shared").mkdir()
    assert seen() == [f"{tmp_path}/shared is not there, or not the same folder"]
    marker = tmp_path / "shared" / f"{MARKER}abc"
    marker.write_text("of another driver")
    assert seen() == [f"{tmp_path}/shared is another folder there"]
    marker.write_text("abc")
    assert seen() == []
    assert list(marker.parent.iterdir()) == [marker]

    def refuse(path: Path, text: str) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert seen() == [f"{tmp_path}/shared cannot be written to: Read-only file system"]


def test_every_node_has_to_reach_the_checkpoints_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, elsewhere = tmp_path / "storage", tmp_path / "elsewhere"
    assert (
        SharedPaths.of(storage, None)
        == SharedPaths.of(storage, str(storage))
        == SharedPaths((storage,))
    )
    assert SharedPaths.of(storage, str(elsewhere)) == SharedPaths((storage, elsewhere))
    storage.mkdir()
    (storage / f"{MARKER}abc").write_text("abc")
    found = look_around(Inputs(), SharedPaths.of(storage, str(elsewhere)), "abc")[1]
    assert found == [f"{elsewhere} is not there, or not the same folder"]
    away = "s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http"
    places = SharedPaths.of(storage, away)
    assert places == SharedPaths((storage,), away)
    tried = []

    def fails(place: str) -> str:
        tried.append(place)
        raise ConfigError(f"--checkpoints {place}: no answer")

    monkeypatch.setattr(node_checks, "checkpoint_place", fails)
    assert look_around(Inputs(), places, "abc")[1] == [f"--checkpoints {away}: no answer"]
    assert tried == [away]


def test_what_trials_read_is_collected(tmp_path: Path) -> None:
    space = lr_space(tmp_path)
    data = {"train": "sample", "val": "kodak"}
    configs = [
        SimpleNamespace(data=SimpleNamespace(**data), start_from=None),
        SimpleNamespace(data=SimpleNamespace(train="a", val="kodak"), start_from="best"),
    ]
    assert Inputs.of(configs) == Inputs(("a", "kodak", "sample"), ("best",))  # type: ignore[arg-type]
    prior = space.config(space.prior(), epochs=1)
    assert Inputs.of([prior]) == Inputs(("sample", "sample_val"))
