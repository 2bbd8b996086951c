"""The results file: CompressAI's schema both ways, joined points, tables."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest

from hpcm import ConfigError
from hpcm.evaluation.results import Results

RESULTS = Path(__file__).parents[3] / "results"
OURS = ("ablation", "bench", "studies")  # measured here; every other folder is a set of images
PUBLISHED = [path for path in sorted(RESULTS.glob("*/*.json")) if path.parent.name not in OURS]


def point(bpp: float, psnr: float) -> Results:
    return Results(
        name="a",
        dataset="kodak",
        results={"bpp": [bpp], "psnr-rgb": [psnr]},
        conditions={"rate": "estimated", "images": 2},
        points=[{"checkpoint": "a"}],
        images=[
            {"point": 0, "image": f"{i}.png", "bpp": bpp + i, "psnr-rgb": psnr} for i in (0, 1)
        ],
    )


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    saved = point(0.5, 30.0)
    assert Results.load(saved.save(tmp_path / "new" / "a.json")) == saved


def test_compressais_reader_finds_what_it_reads(tmp_path: Path) -> None:
    """Its plot tool takes ``name``, and lists of equal length under ``results``."""
    data = json.loads(point(0.5, 30.0).save(tmp_path / "a.json").read_text())
    assert data["name"] == "a"
    assert data["results"] == {"bpp": [0.5], "psnr-rgb": [30.0]}


def test_a_file_of_compressai_is_read(tmp_path: Path) -> None:
    plain = {"name": "hm", "description": "d", "results": {"psnr": [30, 31.5], "bpp": [0.1, 0.2]}}
    (tmp_path / "hm.json").write_text(json.dumps(plain))
    read = Results.load(tmp_path / "hm.json")
    assert (read.name, read.dataset, read.results["psnr"]) == ("hm", "", [30, 31.5])


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_published_curves_say_where_they_are_from(path: Path) -> None:
    curve = Results.load(path)
    assert curve.dataset == path.parent.name
    assert curve.origin.keys() & {"source", "repository"}
    if "InterDigitalInc" in curve.origin.get("repository", ""):
        assert path.name in (RESULTS / "NOTICE-CompressAI.txt").read_text()
    assert curve.results["bpp"] == sorted(curve.results["bpp"])
    assert len(curve.points) in (0, len(curve.results["bpp"]))


BROKEN = {
    "no json": "not a results file",
    '{"schema": "rd_curves/1", "curves": []}': "its schema is 'rd_curves/1': schema, curves",
    '{"epoch": 1}': "its keys are: epoch. `python -m hpcm evaluate --output` writes one",
    "[1, 2]": "no list 'bpp' under 'results'; it holds a list",
    '{"results": {"psnr": [1]}}': "no list 'bpp'",
    '{"results": {"bpp": [1, 2], "psnr": [1]}}': r"results\.psnr: must be a list of numbers",
    '{"results": {"bpp": ["1"], "psnr": [1]}}': r"results\.bpp: must be a list of numbers",
    '{"results": {"bpp": []}}': r"results\.bpp: must be a list of numbers",
    '{"results": {"bpp": [true]}}': r"results\.bpp: must be a list of numbers",
    '{"results": {"bpp": [1]}, "conditions": [1]}': r"bad\.json: conditions: must be a mapping",
    '{"results": {"bpp": [1]}, "dataset": null}': r"bad\.json: dataset: must be text",
    '{"results": {"bpp": [1]}, "images": {}}': r"bad\.json: images: must be a list",
    '{"results": {"bpp": [1]}, "points": [1]}': r"points\[0\]: must be a mapping",
    '{"results": {"bpp": [1]}, "points": [{"sd": 1}]}': r"points\[0\]: must be a mapping, and so",
    '{"results": {"bpp": [1]}, "points": [{"sd": {"bpp": -1}}]}': r"points\[0\]\.sd\.bpp: must",
    '{"results": {"bpp": [1]}, "images": [0]}': r"images\[0\]: must be a mapping",
    '{"results": {"bpp": [1]}, "images": [{"point": 1}]}': r"images\[0\]\.point: .* 0 to 0",
    '{"results": {"bpp": [1]}, "images": [{"point": 0, "bpp": []}]}': r"images\[0\]\.bpp: must be",
    "[" * 100_000: "not a results file",
}


@pytest.mark.parametrize("content", BROKEN)
def test_what_is_no_results_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ConfigError, match=BROKEN[content]):
        Results.load(tmp_path / "bad.json")


def test_a_file_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for save in (point(0.5, 30.0).save, point(0.5, 30.0).save_table):
        with pytest.raises(ConfigError, match=r"file/x\.csv: cannot be written: "):
            save(tmp_path / "file" / "x.csv")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Results.load(tmp_path / "gone.json")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_per_image_as_a_table(suffix: str, tmp_path: Path) -> None:
    path = point(0.5, 30.0).save_table(tmp_path / f"rows.{suffix}")
    table = pandas.read_csv(path) if suffix == "csv" else pandas.read_parquet(path)
    assert list(table["bpp"]) == [0.5, 1.5]
    with pytest.raises(ConfigError, match=r"\.csv or \.parquet"):
        point(0.5, 30.0).save_table(tmp_path / "rows.xlsx")
