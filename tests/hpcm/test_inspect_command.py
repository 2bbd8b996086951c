"""``inspect``: its files, its lines, and what it refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpcm.__main__ import main
from hpcm.training.inputs import sample_weights
from tests.conftest import synthetic_image

WEIGHTS = str(max(sample_weights().items())[1])


@pytest.fixture(autouse=True)
def _images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with two images, one of them grey."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    Path("few/deep").mkdir(parents=True)
    Image.fromarray(synthetic_image(100, 150, 1)).save("few/a.png")
    Image.fromarray(synthetic_image(64, 64, 2)[..., 0]).save("few/deep/a.png")


def test_pictures_numbers_and_one_sheet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", WEIGHTS, "./few", "-o", "out/new"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a.png: ")
    assert lines[1].startswith("deep/a.png: ")
    assert lines[-1] == "written out/new/contact_sheet.png"
    kinds = ("error", "image", "low", "rate", "reconstruction", "rest", "s1", "s2", "s3", "z")
    names = [f"{number}-a.{kind}.png" for number in ("01", "02") for kind in kinds]
    made = sorted(path.name for path in Path("out/new").iterdir())
    assert made == [*names, "contact_sheet.png", "inspection.json", "spectra.png"]
    for name in made:
        if name.endswith("png") and name not in ("02-a.z.png", "02-a.s1.png"):  # of one block
            assert np.asarray(Image.open(f"out/new/{name}").convert("L")).std() > 0
    numbers = json.loads(Path("out/new/inspection.json").read_text())
    assert numbers["source"]["lmbda"] == max(sample_weights())
    for row in numbers["images"]:
        parts = sum(row[f"bpp-{part}"] for part in ("z", "s1", "s2", "s3"))
        assert row["bpp"] == pytest.approx(parts)
        assert f"bpp {row['bpp']:.4f}" in "\n".join(lines)
    written = np.asarray(Image.open("out/new/01-a.reconstruction.png")).astype(float)
    mse = np.square(written - synthetic_image(100, 150, 1)).mean()
    assert numbers["images"][0]["mse-error"] == pytest.approx(mse)


def test_the_first_eight_images_are_taken_and_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for index in range(8):
        Image.fromarray(synthetic_image(32, 32, index)).save(f"few/b{index}.png")
    assert main(["inspect", WEIGHTS, "./few", "-o", "out"]) == 0
    assert "8 of 10 images; for others, put them into a folder of their own" in (
        capsys.readouterr().out
    )
    assert len(json.loads(Path("out/inspection.json").read_text())["images"]) == 8


REFUSED = {
    "./few -o few": "--output few: holds files already; name a new folder",
    "./few -o few/a.png/x": "a.png is a file, not a folder",
    "./gone -o out": "image folder gone: not found",
    "./few -o out --device gpu": "--device gpu: no device",
    "./few -o out --model hpcm_base": "does not fit",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_it_refuses_is_one_message(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", WEIGHTS, *shlex.split(arguments)]) == 2
    out, err = capsys.readouterr()
    assert REFUSED[arguments] in err
    assert err.count("\n") == 1
    assert out == ""
    assert not Path("out").exists()


def test_an_image_that_is_damaged_inside_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    whole = Path("few/a.png").read_bytes()
    Path("few/a.png").write_bytes(whole[:200] + b"\0" * 200 + whole[400:])
    assert main(["inspect", WEIGHTS, "./few", "-o", "out"]) == 2
    assert "few/a.png: cannot be read as an image: " in capsys.readouterr().err
