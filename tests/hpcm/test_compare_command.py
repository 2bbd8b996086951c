"""``compare``: lines, table and plot of BD-rates; curves that make none; bad input."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpcm import ConfigError
from hpcm.__main__ import main
from hpcm.evaluation.rd_plot import save_plot
from hpcm.evaluation.results import Results
from tests.hpcm.evaluation.scored_curves import DECIBELS, RATES, scored

pytestmark = pytest.mark.usefixtures("few_draws")

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of curves in an empty working directory: base, and one that needs a tenth less."""
    monkeypatch.chdir(tmp_path)
    for dataset in ("kodak", "tecnick"):
        for name, factor in (("base", 1.0), ("test", 0.9)):
            curve = scored(name, lambda p, s, i, f=factor: f, seeds=(1, 2), dataset=dataset)
            curve.save(Path(dataset, f"{name}.json"))
    return tmp_path


def write(name: str, bpp: object, psnr: object, dataset: str = "kodak") -> str:
    plain = {"name": name, "dataset": dataset, "results": {"bpp": bpp, "psnr-rgb": psnr}}
    Path(f"{name}.json").write_text(json.dumps(plain))
    return f"{name}.json"


def table(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def test_the_published_bd_rates(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("vtm_18.0", "hpcm_base", "hpcm_large")
    assert main(["compare", *(str(RESULTS / f"kodak/{name}.json") for name in names)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "anchor VTM-18.0 (kodak, real); psnr, pchip"
    assert lines[1].startswith("HPCM-Base (kodak, real): BD-rate -15.45 %  +0.745 dB  over 29.40")
    assert lines[2] == "  no interval: VTM-18.0 has no values per image"
    assert lines[3] == "  rate difference at equal quality (negative: less rate):"
    assert lines[4].startswith("    lmbda 0.0018: -18.")
    (large,) = (line for line in lines if line.startswith("HPCM-Large (kodak, real)"))
    assert "BD-rate -19.39 %" in large


def test_intervals_differences_and_the_mean_over_sets(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = ["kodak/test.json", "tecnick/test.json"]
    command = ["compare", "kodak/base.json", *tests, "--anchors", "tecnick/base.json"]
    assert main([*command, "--csv", "table/all.csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "anchor base (kodak, rate of unknown kind); psnr, pchip"
    assert lines[1].endswith("BD-rate -10.00 % [-10.00, -10.00]  +0.456 dB  over 28.00 to 37.00 dB")
    assert lines[2] == "  95 % interval: 100 draws of 6 images and 2 seeds, paired by seed"
    assert lines[4] == "    lmbda 0.0018: -10.00 % [-10.00, -10.00]"
    assert lines[-3].startswith("test (mean of kodak, tecnick): BD-rate -10.00 % [-10.00, -10.00]")
    rows = table("table/all.csv")
    assert [row["dataset"] for row in rows] == ["kodak", "tecnick", "kodak, tecnick"]
    for row in rows:
        assert [float(row[f"bd_rate{end}"]) for end in ("", "_low", "_high")] == pytest.approx(
            [-10, -10, -10]
        )
    assert [(row["images"], row["seeds"], row["note"]) for row in rows[1:]] == [
        ("6", "2", ""),
        ("12", "2", ""),
    ]


def test_a_curve_that_does_not_rise_is_points_with_reason_and_advice(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write("bad", RATES, [28, 31, 30.5, 37])
    command = ["compare", "kodak/base.json", bad, "--csv", "all.csv", "--plot", "bad.svg"]
    assert main(command) == 2
    out = capsys.readouterr().out
    assert "no BD-rate: bad: quality does not rise with rate: 31.0000 dB at 0.2000 bpp" in out
    assert "  to do: train both points longer or average more seeds" in out
    assert "  0.4000 bpp   30.5000 dB  not above the point before" in out.split("points of bad:")[1]
    assert "not above" not in out.split("points of base:")[1].split("points of bad:")[0]
    (row,) = table("all.csv")
    assert (row["test"], row["bd_rate"]) == ("bad", "")
    assert "does not rise" in row["note"]
    assert "bad (points: quality does not rise)" in Path("bad.svg").read_text()
    assert main(["compare", "kodak/base.json", bad, "kodak/test.json"]) == 0
    assert "BD-rate -10.00 %" in capsys.readouterr().out


def test_unsorted_points_are_a_curve_all_the_same(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = write("mixed", RATES[::-1], DECIBELS[::-1])
    assert main(["compare", "kodak/base.json", mixed]) == 0
    assert "BD-rate +0.00 %" in capsys.readouterr().out.replace("-0.00", "+0.00")


NO_RATE = {
    "few": (RATES[:3], DECIBELS[:3], "few: 3 points; a BD-rate needs 4 or more", "lmbda (1 more)"),
    "far": (RATES, [48, 51, 54, 57], "too little quality in common: base 28.00", "another anchor"),
    "twice": ((*RATES, 0.1), (*DECIBELS, 28.0), "0.1000 bpp, 28.0000 dB is there", "leave one of"),
    "nan": (RATES, (28, 31, float("nan"), 37), "the point 0.4 bpp, nan dB", "evaluate its checkp"),
}


@pytest.mark.parametrize("name", NO_RATE)
def test_what_has_no_bd_rate_says_what_it_is_and_what_to_do(
    name: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bpp, psnr, reason, advice = NO_RATE[name]
    plot = ["--plot", "all.png"]
    assert main(["compare", "kodak/base.json", write(name, bpp, psnr), *plot]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert reason in lines[1]
    assert lines[2].startswith("  to do: ")
    assert advice in lines[2]
    assert Path("all.png").stat().st_size > 1000


REFUSED = {
    "compare kodak/base.json tecnick/test.json": "base was measured on 'kodak', test on 'tecnick'",
    "compare kodak/base.json kodak/test.json --anchors kodak/base.json": "both of the set 'kodak'",
    "compare kodak/base.json other.json --anchors tecnick/base.json": "on 'clic', and the anchors",
    "compare kodak/base.json kodak/test.json --plot a.gif": "--plot a.gif: must end in .svg, .pdf",
    "compare kodak/base.json kodak/test.json --plot kodak": "--plot kodak: a folder; name a file",
    "compare kodak/base.json kodak/test.json --csv kodak": "--csv kodak: a folder; name a file",
    "compare kodak/base.json kodak/test.json --beside other.json": "give --plot FILE too",
    "compare kodak/base.json gone.json": "gone.json: cannot be read",
    "compare kodak/base.json mixed.json": "mixed: points trained for ms_ssim and mse make no curve",
    "compare kodak/base.json hole.json": "hole: seed 2 has no point at lmbda 0.02; evaluate that",
}


@pytest.mark.parametrize("command", REFUSED)
def test_refusals_are_one_message(
    command: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("other", RATES, DECIBELS, dataset="clic")
    plain = {"bpp": list(RATES), "psnr-rgb": list(DECIBELS)}
    trained = [{"metric": metric} for metric in ("mse", "mse", "ms_ssim", "mse")]
    Results("mixed", "kodak", plain, points=trained).save("mixed.json")
    runs = [{"lmbda": lmbda, "seed": seed} for lmbda, seed in ((0.01, 1), (0.01, 2), (0.02, 1))]
    three = {key: values[:3] for key, values in plain.items()}
    Results("hole", "kodak", three, points=runs).save("hole.json")
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    assert REFUSED[command] in err
    assert err.count("\n") == 1
    assert "BD-rate" not in out
    assert not Path("a.gif").exists()


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_a_plot_in_every_kind_is_the_same_twice(suffix: str, files: Path) -> None:
    tests = [str(RESULTS / f"kodak/hpcm_{name}.json") for name in ("base", "base_ms_ssim")]
    beside = ["--beside", *(str(path) for path in sorted((RESULTS / "kodak").glob("*.json")))]
    command = ["compare", str(RESULTS / "kodak/vtm_compressai.json"), *tests, *beside]
    for name in ("one", "two"):
        assert main([*command, "--plot", f"{name}.{suffix}"]) == 0
    drawn = Path(f"one.{suffix}").read_bytes()
    assert drawn == Path(f"two.{suffix}").read_bytes()
    if suffix == "svg":
        text = drawn.decode()
        for part in ("HPCM-Base: BD-rate -16.02 %", "TCM-Large", "PSNR [dB]", "MS-SSIM [dB]"):
            assert part in text


def test_a_plot_is_readable_in_grey(files: Path) -> None:
    """No two of the tests' curves have nearly the same lightness and the same dashes."""
    from hpcm.evaluation.rd_plot import _TESTS

    colours = np.array([[int(s["color"][i : i + 2], 16) for i in (1, 3, 5)] for s in _TESTS])
    lightness = colours @ [0.299, 0.587, 0.114]
    assert len({(s["marker"], str(s["linestyle"])) for s in _TESTS}) == len(_TESTS)
    assert max(lightness) < 190  # against white paper
    assert min(np.diff(lightness)) > 10  # dark to light


def test_plots_that_cannot_be(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Results.load("kodak/base.json")
    bare = dataclasses.replace(base, results={"bpp": base.results["bpp"]})
    with pytest.raises(ConfigError, match="no curve has PSNR or MS-SSIM"):
        save_plot(Path("a.svg"), [(bare, bare)])
    with pytest.raises(ConfigError, match=r"a\.gif: a plot is written as \.svg"):
        save_plot(Path("a.gif"), [(base, base)])
    with pytest.raises(ConfigError, match=r"base\.json/a\.svg: cannot be written"):
        save_plot(Path("kodak/base.json/a.svg"), [(base, base)])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="a plot needs the package matplotlib"):
        save_plot(Path("a.svg"), [(base, base)])


def test_an_anchor_far_from_the_tests_is_in_view(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As black squares: the tests' own range would leave it out."""
    scored("good", lambda p, s, i: 1.0, decibels=(48, 51, 54, 57)).save("good.json")
    assert main(["compare", "kodak/base.json", "good.json", "--plot", "far.png"]) == 2
    assert "less rate): not known, all points are out of the" in capsys.readouterr().out
    axes = np.asarray(Image.open("far.png").convert("RGB"))[60:550, 90:900].astype(int)
    black = (axes.max(axis=2) < 10).sum()
    assert black > 500


def test_the_spread_between_seeds_is_drawn(files: Path) -> None:
    curve = scored("test", lambda p, s, i: 1.0, seeds=(1, 2))
    for point in curve.points:
        point["sd"]["psnr-rgb"] = 0.4
    save_plot(Path("with.png"), [(curve, curve)])
    for point in curve.points:
        point["sd"]["psnr-rgb"] = 0.0
    save_plot(Path("without.png"), [(curve, curve)])
    pictures = [np.asarray(Image.open(f"{name}.png")) for name in ("with", "without")]
    assert (pictures[0] != pictures[1]).any()
