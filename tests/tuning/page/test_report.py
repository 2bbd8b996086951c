"""The report of an experiment: its data in every state, and the one file that holds it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.ladders.small_ladder import LMBDAS, ladder, score, trained
from tests.tuning.lr_space import lr_space
from tests.tuning.served import SECRET, Made
from tuning.__main__ import main
from tuning.ledger.driver_lock import driving
from tuning.ledger.events import Closed, Failed, Opened, Proposed
from tuning.ledger.folders import write_experiment
from tuning.ledger.ledger import Ledger, read_trials
from tuning.page import report
from tuning.page.report import bundle, report_data, report_html, write_report
from tuning.results.export import export_best
from tuning.results.ladder import judge, verdict_data, write_verdict
from tuning.results.tables import read_result
from tuning.search.search import Search
from tuning.search.sessions import open_session, reference_metrics
from tuning.simulation.drive import Epoch, SimulatedTime, drive
from tuning.spaces.sections import DELTA_RATE, Confirm, Objective
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import hours_text

BEST_RATE = 1e-3


def of_space(folder: Path, **changes: Any) -> SearchSpace:
    """Twelve trials judged by the rate at equal quality, two finalists on fresh seeds."""
    space = lr_space(folder, budget={"trials": 12, "concurrent": 2}, scheduler={"name": "fifo"})
    space = replace(space, objective=Objective(metric=DELTA_RATE), path=str(folder / "rates.yaml"))
    return replace(space, confirm=Confirm(top=1, seeds=(5, 6)), **changes)


def metrics_of(params: Mapping[str, Any], seed: int | None, epoch: int) -> dict[str, float]:
    """Rates that are lowest at a learning rate of 1e-2, the upper end of its range."""
    lmbda, rate = params.get("loss.lmbda", 0.013), params["optimizer.lr"]
    more = 0.0 if "loss.lmbda" in params else 0.02 * (0.01 - rate) / 0.01 - 0.03
    place = lmbda / 0.013
    return {
        "val_bpp": 0.5 * place**0.9 * (1 + more + 0.001 * (seed or 0)),
        "val_psnr": 30 + 3 * place**0.5 - 1 / epoch,
        "val_rd_cost": 1.0,
        "weights/distortion": 0.6,
        "gamma/gamma": 0.01 / epoch,
    }


def searched(folder: Path, space: SearchSpace) -> Path:
    """The experiment of a whole search against a clock, on the disk."""
    directory, time = folder / "storage" / "rates-x", SimulatedTime()
    write_experiment(directory, space, experiment="rates-x", git_commit="0123456789ab" * 3 + "cdef")
    ledger = Ledger(directory, clock=time.clock(), durable=False)
    opened = Opened(digest=space.digest, experiment="rates-x", **reference_metrics(space))
    open_session(ledger, opened)
    search = Search(space, ledger)

    def begin(start: Any) -> Any:
        for epoch in range(ledger.trials[start.trial].epochs + 1, space.fidelity.max + 1):
            values = metrics_of(ledger.trials[start.trial].params, start.seed, epoch)
            yield Epoch({"epoch": float(epoch), "train/seconds": 360.0, **values})

    drive(search, begin, slots=2, time=time)
    ledger.close(Closed(complete=True))
    return directory


def data_of(directory: Path) -> dict[str, Any]:
    """As the document embeds it: valid JSON."""
    result = read_result(directory.name, str(directory.parent))
    found: dict[str, Any] = json.loads(json.dumps(report_data(result), allow_nan=False))
    return found


def test_what_a_finished_search_reports(tmp_path: Path) -> None:
    data = data_of(searched(tmp_path, of_space(tmp_path)))
    found, page = data["api/analysis"], data["api/experiment"]
    assert "against the baseline at equal quality" in found["answer"][0]
    assert "on 2 fresh seeds, against the baseline: -" in found["answer"][1]
    (config,) = found["configs"]
    assert config["path"] == "optimizer.lr"
    assert config["prior"] == "0.0002"
    assert config["best"] != config["prior"]
    assert found["incumbent"]["epoch"] == 9
    hours, scores, _ = zip(*found["incumbent"]["steps"], strict=True)
    assert list(hours) == sorted(hours)
    assert list(scores) == sorted(scores, reverse=True)
    assert hours[-1] < found["incumbent"]["spent"]
    assert [lmbda for _, _, lmbda in found["reference"]["points"]] == [0.0065, 0.013, 0.026]
    assert found["effects"]["epoch"] == 9
    (panel,) = found["effects"]["panels"]
    assert len(panel["points"]) == found["effects"]["trials"] == 12
    assert panel["trend"][0][1] > panel["trend"][-1][1]  # more is better
    (share,) = found["importance"]["rows"]
    assert (share["path"], share["share"]) == ("optimizer.lr", 1.0)
    assert [row["name"] for row in found["balance"]] == ["baseline", "prior", "best"]
    rows = dict(found["health"]["cost"])
    assert rows["reference runs"].startswith("3, ")
    assert rows["runs on fresh seeds"].startswith("6, ")
    assert dict(found["health"]["record"])["git commit"] == "0123456789ab"
    assert f"api/trials/{page['best']['trial']}" in data
    best = page["best"]["rows"][0]
    assert best["name"] == "rate difference"
    assert best["best"].startswith("-") and best["best"].endswith(" %")  # noqa: PT018
    result = read_result("rates-x", str(tmp_path / "storage"))
    assert page["hours"]["spent"] == hours_text(result.hours_spent, "CPU") == rows["spent"]
    assert page["hours"]["counted"] == result.counted
    assert result.counted == "12 trials, 3 reference runs, 6 confirming runs"


def test_a_best_value_at_the_edge_of_its_range_is_said(tmp_path: Path) -> None:
    directory = searched(tmp_path, of_space(tmp_path))
    best = read_result("rates-x", str(directory.parent)).best
    assert best is not None
    told = data_of(directory)["api/analysis"]["edges"]
    at_the_edge = best.params["optimizer.lr"] > 10 ** (-2 - 4 * 0.05)
    assert len(told) == int(at_the_edge)
    wide = [line for line in told if "lies at the upper edge of its range (1e-06 to 0.01)" in line]
    assert wide == told


@pytest.mark.parametrize("state", ["running", "empty", "all failed", "half deleted", "no record"])
def test_other_states_are_said_and_work(
    tmp_path: Path, state: str, make: Callable[..., Made]
) -> None:
    """Under way, without a trial, with failed trials alone, with files that are gone."""
    space = of_space(tmp_path)
    directory = tmp_path / "storage" / "rates-x"
    if state == "running":
        directory, _ = make()
        with driving(directory):
            data = data_of(directory)
        assert data["api/experiment"]["state"] == "running"
        assert data["api/analysis"]["incumbent"]["steps"]
        return
    if state in ("half deleted", "no record"):
        searched(tmp_path, space)
        (directory / "ledger.jsonl").unlink()
    else:
        write_experiment(directory, space)
        ledger = Ledger(directory)
        ledger.open()
        if state == "all failed":
            for number in range(2):
                ledger.append(Proposed(number, params=space.prior(), source="prior"))
                ledger.append(Failed(number, reason="ValueError: no image"))
        ledger.close()
    if state == "no record":
        (directory / "experiment.json").write_text("{}")
        storage = ["--storage", str(directory.parent)]
        assert main(["report", "rates-x", *storage, "-o", str(tmp_path / "x.html")]) == 2
        return
    data = data_of(directory)
    said = {
        "empty": "no trial was proposed yet: there is nothing to answer with",
        "all failed": "every trial failed, the first: ValueError: no image",
        "half deleted": "no trial was proposed yet: there is nothing to answer with",
    }[state]
    assert data["api/analysis"]["answer"] == [said]
    assert data["api/analysis"]["incumbent"]["steps"] == []
    assert data["api/analysis"]["effects"]["panels"] == []
    assert data["api/experiment"]["best"] is None


@pytest.mark.usefixtures("few_draws")
def test_a_ladder_belongs_to_the_search_whose_config_it_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the digest of the exported config; the ladder's own report has it too."""
    monkeypatch.setattr("tuning.results.export.data_facts", lambda config: [])
    monkeypatch.setattr(
        "tuning.results.export._target", lambda result, best: result.info.space.config(best.params)
    )
    directory = searched(tmp_path, of_space(tmp_path))
    export = export_best(read_result("rates-x", str(directory.parent)))
    space = ladder(tmp_path)
    other = directory.parent / "best-ladder-x"
    mine = replace(space, ladder=replace(space.ladder, source=export.config.digest))
    trained(other, mine)
    runs = read_trials(other)
    folder = score(other, runs, dict.fromkeys(LMBDAS, 3.0))
    write_verdict(other, verdict_data(mine, [judge(folder, mine, runs)]))
    told = "photos: best against baseline, PSNR: BD-rate -3.00 % [-3.00, -3.00]"
    for place in (directory, other):
        data = data_of(place)["api/analysis"]
        assert [one["name"] for one in data["ladders"]] == ["best-ladder-x"]
        assert data["answer"][-1] == told
    assert data_of(other)["api/experiment"]["ranks"] is False
    assert any(
        line.startswith("experiment") for line in data_of(directory)["api/analysis"]["export"]
    )


def test_the_document_asks_for_nothing(tmp_path: Path, make: Callable[..., Made]) -> None:
    """No address of anything, its policy allows no load, and no text of others is markup."""
    attack = "</script><img src=x onerror=alert(1)>"
    directory, _ = make(attack)
    text = report_html(report_data(read_result(directory.name, str(directory.parent))))
    assert "default-src 'none'" in text
    assert re.findall(r'(?:src|href)="(?!#)[^"]*"', text) == []
    assert "<link" not in text
    assert attack not in text
    assert SECRET not in text
    assert text.count("<script") == text.count("</script>") == 2


def test_every_module_is_in_it_behind_those_that_it_imports() -> None:
    files = {path.stem for path in report.WEB.glob("*.js")}
    assert {*report.SCRIPTS, *report.COMPARISON} == files
    for scripts in (report.SCRIPTS, report.COMPARISON):
        for k, name in enumerate(scripts):
            code = (report.WEB / f"{name}.js").read_text()
            used = [module for _, module in report.IMPORT.findall(code)]
            assert len(used) == code.count("\nimport "), f"{name}.js: an import of another form"
            assert set(used) <= set(scripts[:k])
        assert "import " not in re.sub(r"//.*", "", bundle(scripts))
        assert not re.search(r"^export ", bundle(scripts), re.MULTILINE)


def test_the_command_writes_it(
    tmp_path: Path, make: Callable[..., Made], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, _ = make()
    words = ["report", directory.name, "--storage", str(directory.parent)]
    assert main([*words, "-o", str(tmp_path / "new" / "r.html")]) == 0
    assert f"written {tmp_path / 'new' / 'r.html'}" in capsys.readouterr().out
    assert main(words) == 0
    assert (directory / "report.html").read_text().startswith("<!doctype html>")
    assert main([*words, "-o", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_one_message(
    tmp_path: Path, make: Callable[..., Made]
) -> None:
    directory, _ = make()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        write_report(read_result(directory.name, str(directory.parent)), tmp_path / "file" / "r")
