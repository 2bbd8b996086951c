"""The answer in words: what beat the baseline, and how to be surer of it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.confirm_search import all_go_on
from tests.tuning.lr_space import kill
from tests.tuning.searches import make_info, make_result, make_space
from tests.tuning.simulation.test_delta_rate import OneCurve, space_of
from tuning import cli
from tuning.results.answer import answer_lines
from tuning.simulation.simulate import simulate
from tuning.spaces.sections import DELTA_RATE, Confirm


class Worse(OneCurve):
    """A search whose trials all need 3 % more rate than the baseline."""

    def report(self, params: Any, seed: int, epoch: int) -> dict[str, float]:
        found = super().report(params, seed, epoch)
        more = 1.0 if "loss.lmbda" in params else 1.03
        return found | {"val_bpp": found["val_bpp"] * more}


@pytest.mark.parametrize(
    ("confirm", "start"),
    [
        (Confirm(), "No trial beat the baseline; at epoch 9: trial "),
        (
            Confirm(top=1, seeds=(5, 6)),
            "No trial beat the baseline on fresh seeds; on the search's own seed, at epoch 9: ",
        ),
    ],
)
def test_a_search_that_only_lost_says_so_first(
    tmp_path: Path, confirm: Confirm, start: str
) -> None:
    space = replace(space_of(tmp_path, "fifo"), confirm=confirm)
    result = simulate(space, Worse(), slots=3, seed=1)
    first, certainty, *_ = answer_lines(result)
    assert first.startswith(start)
    assert "+3.0" in first
    assert certainty.endswith("worse, by more than seeds differ by") is bool(confirm.top)


def test_before_the_reference_runs_have_ended_it_says_so(tmp_path: Path) -> None:
    result = simulate(space_of(tmp_path, "fifo"), OneCurve(), slots=3, seed=1)
    ended, *others = result.references
    waiting = [replace(run, state="pending") for run in others]
    begun = replace(result, best=None, references=(ended, *waiting))
    assert answer_lines(begun) == [f"no answer yet: 1 of {len(waiting) + 1} reference runs ended"]
    assert answer_lines(replace(result, best=None)) == []


def test_one_that_won_does_not(tmp_path: Path) -> None:
    result = simulate(space_of(tmp_path, "fifo"), OneCurve(gain=0.02), slots=3, seed=1)
    assert answer_lines(result)[0].startswith("at epoch 9: trial ")


def test_the_command_that_confirms_is_one_that_tune_takes(
    searched: list[dict[str, Any]], storage: Path
) -> None:
    """On a finished search, from the words that were printed."""
    assert cli.main(["--space", "quick.yaml", "--storage", str(storage)]) == 0
    result = make_result(make_space(storage.parent), storage.parent)
    (line,) = [text for text in answer_lines(result) if text.startswith("one seed")]
    command = shlex.split(line.partition("seeds: ")[2])
    assert command[:2] == ["python", "tune.py"]
    assert cli.main(command[2:]) == 0
    assert searched[-1]["resume"] == "quick-x"
    assert searched[-1]["space"].confirm == Confirm(top=2, seeds=(1, 2))


def test_a_finished_search_trains_its_finalists_once_it_is_asked_to(tmp_path: Path) -> None:
    run = all_go_on(tmp_path, confirm={"top": 0})
    run.play_trials()
    assert run.result(tmp_path).complete
    kill(run.ledger)
    more = all_go_on(tmp_path)
    more.confirm()
    assert len(more.ledger.confirmations()) == 6
    assert more.result(tmp_path).confirmation is not None
    more.ledger.close()


@pytest.mark.parametrize("why", ["asked for", "not complete", "simulated", "seeds are searched"])
def test_where_it_cannot_be_confirmed_no_command_is_printed(tmp_path: Path, why: str) -> None:
    space = make_space(tmp_path)
    result = make_result(space, tmp_path)
    match why:
        case "asked for":
            space = replace(space, confirm=Confirm(top=1))
        case "seeds are searched":
            searched = {**space.parameters, "seed": space.parameters["optimizer.lr"]}
            space = replace(space, parameters=searched)
            for trial in result.trials:
                trial.params["seed"] = 1e-4
        case "not complete":
            result = replace(result, complete=False)
    info = replace(make_info(space, tmp_path), simulated="x" if why == "simulated" else "")
    lines = answer_lines(replace(result, info=info))
    assert "one seed: other seeds may differ by more than this" in lines


def test_a_rate_difference_has_its_sign_wherever_it_is_shown() -> None:
    from tuning.spaces.wording import metric_text, size_text

    assert [metric_text(DELTA_RATE, v) for v in (0.38, -0.5, None)] == ["+0.38 %", "-0.50 %", "-"]
    assert size_text(DELTA_RATE, 0.38) == "0.38 %"
    assert metric_text("val_psnr", 30.0) == "30.00 dB"
