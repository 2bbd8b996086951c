"""The standard error over images of a score, beside every score that is printed."""

from __future__ import annotations

import io
import math
import random
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from tests.tuning.simulation.test_delta_rate import OneCurve, space_of
from tuning.ledger.records import TrialRecord
from tuning.ledger.reference_curve import DELTA_RATE, RatePoint, ReferenceCurve
from tuning.results.answer import answer_lines
from tuning.results.image_error import ImageErrors
from tuning.results.outcome import ExperimentResult
from tuning.simulation.simulate import simulate
from tuning.watching.summary import comparison_lines
from tuning.watching.terminal import Terminal
from tuning.watching.trial_table import trial_table

IMAGES = 64
PARTS = 8
LMBDAS = (0.0065, 0.013, 0.026)


def images(generator: random.Random, scale: float, apart: float) -> list[tuple[float, float]]:
    """Rate and quality of each image: hard ones for all, and what only this model finds hard."""
    found = []
    for image in range(IMAGES):
        shared = random.Random(image).gauss(0, 0.5)
        own = generator.gauss(0, apart)
        found.append((0.5 * scale * math.exp(shared + own), 30 + 3 * math.log2(scale) - shared))
    return found


def report(scores: list[tuple[float, float]], epoch: int = 9) -> dict[str, float]:
    """What validation reports of them."""
    made = {"epoch": float(epoch)}
    for part in range(PARTS):
        for k, name in enumerate(("val_bpp", "val_psnr")):
            made[f"part{part + 1}_{name}"] = mean(score[k] for score in scores[part::PARTS])
    return made | {"val_bpp": mean(s[0] for s in scores), "val_psnr": mean(s[1] for s in scores)}


def record(number: int, scores: list[tuple[float, float]], lmbda: float | None) -> TrialRecord:
    return TrialRecord(
        id=str(number), number=number, params={}, lmbda=lmbda, reports=[report(scores)]
    )


def baseline(generator: random.Random) -> list[TrialRecord]:
    """The reference runs, each twice the rate of the one before."""
    scales = enumerate(LMBDAS, 1)
    return [record(i, images(generator, 2.0 ** (i - 2), 0.0), lmbda) for i, lmbda in scales]


def with_score(trial: TrialRecord, runs: list[TrialRecord]) -> dict[str, float]:
    points = [RatePoint(r.lmbda or 0, r.last["val_bpp"], r.last["val_psnr"]) for r in runs]
    curve = ReferenceCurve.through(points)
    value = curve.delta_rate(trial.last["val_bpp"], trial.last["val_psnr"])
    assert value is not None
    return trial.last | {DELTA_RATE: value}


@pytest.mark.parametrize("apart", [0.02, 0.08])
def test_it_is_how_far_other_images_move_the_score(tmp_path: Path, apart: float) -> None:
    """200 draws of 64 images: the errors' mean is the deviation of the scores, within 15 %."""
    space, generator = space_of(tmp_path), random.Random(1)
    scores, errors = [], []
    for _ in range(200):
        runs = baseline(generator)
        found = with_score(record(0, images(generator, 1.0, apart), None), runs)
        scores.append(found[DELTA_RATE])
        error = ImageErrors(space, runs).of(found)
        assert error is not None
        errors.append(error)
    assert mean(errors) == pytest.approx(stdev(scores), rel=0.15)
    assert mean(errors) < 100 * 0.5 / IMAGES**0.5 / 2  # what all find hard cancels out


def test_who_is_the_baseline_has_none(tmp_path: Path) -> None:
    generator = random.Random(1)
    runs = baseline(generator)
    errors = ImageErrors(space_of(tmp_path), runs)
    assert errors.of(with_score(runs[1], runs)) == pytest.approx(0, abs=1e-9)


class OnParts(OneCurve):
    """With parts of the images, of which the seventh is harder for each trial by its rate."""

    def report(self, params: Any, seed: int, epoch: int) -> dict[str, float]:
        found = super().report(params, seed, epoch)
        more = 0.0 if "loss.lmbda" in params else 0.1
        for part in range(1, PARTS + 1):
            factor = 1 + (more if part == 7 else 0)
            found[f"part{part}_val_bpp"] = found["val_bpp"] * factor
            found[f"part{part}_val_psnr"] = found["val_psnr"]
        return found | {"val_bpp_se": 0.0625, "val_psnr_se": 0.125}


@pytest.fixture
def searched(tmp_path: Path) -> ExperimentResult:
    return simulate(space_of(tmp_path, "fifo"), OnParts(), slots=3, seed=1, trials=4)


def test_it_stands_beside_the_scores(searched: ExperimentResult) -> None:
    assert searched.best is not None
    (headline, *_) = answer_lines(searched)
    assert " ± 1.2" in headline  # of eight values one is 10 % off: 10 / 8, and the factor's noise
    assert headline.endswith("; ± is the standard error over the validation images")
    rows = "\n".join(comparison_lines(searched, searched.best))
    assert "bpp ± 0.0625" in rows.replace(" bpp", "bpp") or "± 0.0625" in rows
    assert "dB ± 0.12" in rows
    out = Terminal(file=io.StringIO(), width=160)
    out.print(trial_table([*searched.trials, *searched.references], searched.info.space, 9))
    table = out.file.getvalue()  # type: ignore[attr-defined]
    assert "± images" in table
    assert " 1.2" in table


def test_without_parts_it_is_not_known(searched: ExperimentResult, tmp_path: Path) -> None:
    plain = simulate(space_of(tmp_path, "fifo"), OneCurve(), slots=3, seed=1, trials=4)
    assert "±" not in answer_lines(plain)[0]
    best = plain.best
    assert best is not None
    errors = ImageErrors(plain.info.space, plain.references)
    assert errors.of(best.last) is None
    odd = replace(searched.references[0], reports=plain.references[0].reports)
    errors = ImageErrors(plain.info.space, [odd, *searched.references[1:]])
    assert errors.of(searched.trials[0].last) is None
    assert ImageErrors(plain.info.space, ()).of(searched.trials[0].last, "val_bpp") == 0.0625
