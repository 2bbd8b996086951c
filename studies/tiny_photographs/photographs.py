"""Fetch the photographs of this study: freely licensed wallpapers of Debian packages, made small.

`python studies/tiny_photographs/photographs.py` downloads the packages that photographs.csv names
(`apt-get download`, nothing is installed, no root), takes the listed files if their SHA-256 is
right, and writes them to $HPCM_DATA as three image sets: photographs_train, photographs_val,
photographs_judge. No photographer is in two of them.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

TABLE = Path(__file__).with_name("photographs.csv")
LONGEST_SIDE = 768  # pixels, as the longest of Kodak's
SETS = ("train", "val", "judge")


class FetchError(Exception):
    """What a reader can mend, in one message."""


def photographs() -> list[dict[str, str]]:
    """The rows of the table: set, name, package, version, path in it, author, licence, sha256."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def target(data: Path, row: dict[str, str]) -> Path:
    """Where a photograph lies below $HPCM_DATA."""
    return data / f"photographs_{row['set']}" / f"{row['name']}.png"


def missing(data: Path) -> list[dict[str, str]]:
    """The rows whose photograph is not there yet."""
    return [row for row in photographs() if not target(data, row).is_file()]


def fetch(data: Path) -> None:
    """Download, check, shrink and write what is missing. Raises :class:`FetchError`."""
    rows = missing(data)
    lacking = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if rows and lacking:
        raise FetchError(
            f"{' and '.join(lacking)}: not found; on a system without Debian's packages put"
            f" photographs of your own into {data}/photographs_{{{','.join(SETS)}}}"
        )
    for package in sorted({row["package"] for row in rows}):
        own = [row for row in rows if row["package"] == package]
        print(f"{package} {own[0]['version']}: {len(own)} photographs", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            _unpack(package, Path(folder))
            for row in own:
                _write(Path(folder, "files", row["path"]), target(data, row), row)


def _unpack(package: str, folder: Path) -> None:
    """Files of a package below ``folder/files``."""
    for command in (["apt-get", "download", "-q", package], None):
        if command is None:
            (archive,) = folder.glob("*.deb")
            command = ["dpkg-deb", "-x", archive.name, "files"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if run.returncode:
            raise FetchError(f"{' '.join(command)}: {run.stderr.strip()}")


def _write(source: Path, path: Path, row: dict[str, str]) -> None:
    """One photograph, its longest side 768 pixels, without loss from there on."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest() if source.is_file() else "no file"
    if digest != row["sha256"]:
        raise FetchError(
            f"{row['package']}: {row['path']}: SHA-256 {digest}, {row['sha256']} expected;"
            f" the study was made with version {row['version']} of the package"
        )
    with Image.open(source) as image:
        pixels = image.convert("RGB")
        scale = LONGEST_SIDE / max(pixels.size)
        size = (round(pixels.width * scale), round(pixels.height * scale))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        pixels.resize(size, Image.Resampling.LANCZOS).save(part, format="PNG")
        part.rename(path)


def main() -> int:
    """Fetch into $HPCM_DATA; 2 if that cannot be done."""
    data = os.environ.get("HPCM_DATA", "")
    if not data:
        print("HPCM_DATA is not set; it names the folder of all image sets", file=sys.stderr)
        return 2
    try:
        fetch(Path(data))
    except FetchError as error:
        print(error, file=sys.stderr)
        return 2
    counts = [sum(row["set"] == name for row in photographs()) for name in SETS]
    sets = ", ".join(f"photographs_{n} {c}" for n, c in zip(SETS, counts, strict=True))
    print(f"{data}: {sets}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
