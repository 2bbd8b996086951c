"""compress, decompress, convert: their lines, files and exit codes."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hpcm.__main__ import main
from hpcm.model import build_model
from hpcm.model.checkpoint import read_weights, save_weights
from hpcm.model.hpcm import TABLE_BUFFERS
from tests.conftest import synthetic_image
from tests.own_parts import as_before
from tests.reference.fill_weights import fill_model


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with weights and two photographs' stand-ins."""
    monkeypatch.chdir(tmp_path)
    save_weights(fill_model(build_model("hpcm_tiny"), seed=4), "tiny.pth")
    Image.fromarray(synthetic_image(70, 90, 1)).save("a.png")
    Image.fromarray(synthetic_image(64, 40, 2)).convert("L").save("b.png")
    return tmp_path


def run(command: str) -> int:
    return main(shlex.split(command))


def test_images_to_files_and_back(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compress a.png b.png -o coded --checkpoint tiny.pth --device cpu") == 0
    size = Path("coded/a.hpcm").stat().st_size
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"coded/a.hpcm: {size} bytes, {8 * size / 70 / 90:.4f} bpp"
    assert run("decompress coded/a.hpcm coded/b.hpcm -o out --checkpoint tiny.pth") == 0
    assert capsys.readouterr().out.splitlines() == ["out/a.png: 90 x 70", "out/b.png: 40 x 64"]
    model = fill_model(build_model("hpcm_tiny"), seed=4).eval()
    x = torch.zeros(1, 3, 256, 256)
    original = torch.from_numpy(synthetic_image(70, 90, 1)).permute(2, 0, 1) / 255
    x[0, :, 93:163, 83:173] = original
    with torch.no_grad():
        x_hat = model(x)["x_hat"].clamp(0, 1)[0, :, 93:163, 83:173]
    expected = x_hat.mul(255).round().byte().permute(1, 2, 0)
    np.testing.assert_array_equal(np.asarray(Image.open("out/a.png")), expected)
    assert not list(Path("coded").glob("*.partial"))


def test_portable_files_are_marked_and_decode(here: Path) -> None:
    assert run("compress a.png -o exact --checkpoint tiny.pth --threads 1 --device cpu") == 0
    assert run("compress a.png -o free --checkpoint tiny.pth --portable --device cpu") == 0
    assert Path("free/a.hpcm").stat().st_size > Path("exact/a.hpcm").stat().st_size
    assert run("decompress free/a.hpcm -o out --checkpoint tiny.pth --device cpu") == 0


def test_convert_there_and_back(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert tiny.pth ours.pt --to ours") == 0
    assert run("convert ours.pt theirs.pth --to upstream") == 0
    assert capsys.readouterr().out.splitlines() == [
        "written ours.pt: hpcm_tiny, ours",
        "written theirs.pth: hpcm_tiny, upstream",
    ]
    first, back = torch.load("tiny.pth", weights_only=True), torch.load("theirs.pth")
    assert list(first) == list(back)
    assert all(torch.equal(first[key], back[key]) for key in first)
    ours = read_weights("ours.pt")
    assert ours.variant == "hpcm_tiny"
    assert all(ours.state[name].numel() for name in TABLE_BUFFERS)
    assert run("compress a.png -o coded --checkpoint ours.pt --device cpu") == 0
    assert run("decompress coded/a.hpcm -o out --checkpoint theirs.pth --device cpu") == 0


WRONG = {
    "compress gone.png -o x --checkpoint tiny.pth": "gone.png: cannot be read as an image: No such",
    "compress tiny.pth -o x --checkpoint tiny.pth": "tiny.pth: not an image of a known format",
    "compress a.png -o x --checkpoint gone.pth": "gone.pth: cannot be read: No such file",
    "compress a.png -o x --checkpoint a.png": "a.png: not a file of weights",
    "compress a.png -o x --checkpoint tiny.pth --model hpcm_phi": "as hpcm_phi: does not fit",
    "compress a.png ./a.png -o x --checkpoint tiny.pth": "another file becomes x/a.hpcm too",
    "compress a.png -o a.png/x --checkpoint tiny.pth": "a.png is a file, not a folder",
    "decompress a.png -o x --checkpoint tiny.pth": "a.png: not an HPCM file",
    "decompress gone.hpcm -o x --checkpoint tiny.pth": "gone.hpcm: cannot be read: No such file",
    "decompress b.png -o . --checkpoint tiny.pth": "b.png: exists already",
    "convert a.png x.pt --to ours": "a.png: not a file of weights",
    "convert tiny.pth a.png --to upstream": "a.png: exists already",
}


@pytest.mark.parametrize("command", WRONG)
def test_what_the_user_can_mend_is_one_message(
    command: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == 2
    out, err = capsys.readouterr()
    assert WRONG[command] in err
    assert err.count("\n") == 1
    assert out == ""
    assert not Path("x").exists()


def test_without_the_coder_the_message_says_what_to_install(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hpcm.model import bitstream

    monkeypatch.delitem(sys.modules, "compressai.ans", raising=False)
    monkeypatch.setattr(bitstream, "_rans", lambda: bitstream._load("no_such_package", "ans"))
    assert run("compress a.png -o x --checkpoint tiny.pth --device cpu") == 2
    assert "pip install 'hpcm-tune[codec]'" in capsys.readouterr().err


OWN = """
import dataclasses
import hpcm
from hpcm.model import MODELS

hpcm.register("model", "hpcm_mine", dataclasses.replace(MODELS["hpcm_tiny"]))
"""


def test_a_variant_of_an_imported_file_may_be_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("variants.py").write_text(OWN)
    words = "convert tiny.pth mine.pt --to ours --model hpcm_mine"
    assert run(words) == 2
    assert "'hpcm_mine' is unknown. Did you mean 'hpcm_tiny'?" in capsys.readouterr().err
    with as_before():
        assert run(f"{words} --import variants.py") == 0
        assert read_weights("mine.pt").variant == "hpcm_mine"
