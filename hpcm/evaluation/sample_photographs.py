"""The photographs behind ``sample`` and ``sample_val``, which scikit-image and scikit-learn ship.

They make the whole path of a training work on a machine without any data set. ``sample_val`` holds
two lossless photographs of 512x512 once padded. Both images of the stereo pair are in ``sample``:
no scene is in both sets. Left out are scikit-image's grey images, drawings and micrographs, and its
JPEG files: space, a retina, and a rocket in strongly compressed dusk.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hpcm.schema import ConfigError

#: set name: (package, its project, file below the package)
SAMPLES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "sample": (
        ("skimage", "scikit-image", "data/coffee.png"),
        ("skimage", "scikit-image", "data/motorcycle_left.png"),
        ("skimage", "scikit-image", "data/motorcycle_right.png"),
        ("sklearn", "scikit-learn", "datasets/images/china.jpg"),
        ("sklearn", "scikit-learn", "datasets/images/flower.jpg"),
    ),
    "sample_val": (
        ("skimage", "scikit-image", "data/astronaut.png"),
        ("skimage", "scikit-image", "data/chelsea.png"),
    ),
}


def sample_files(name: str) -> list[tuple[str, Path]]:
    """Name and path of each photograph of a sample set, without importing the packages.

    Raises :class:`ConfigError` if a package is not installed or does not ship the file.
    """
    return [(path.name, path) for path in (_locate(name, *entry) for entry in SAMPLES[name])]


def _locate(name: str, package: str, project: str, file: str) -> Path:
    spec = find_spec(package)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    if not folders:
        raise ConfigError(
            f"image set '{name}': its photographs come with {project}, which is not installed; "
            f"install {project}, or name a set under $HPCM_DATA"
        )
    found = next((folder / file for folder in folders if (folder / file).is_file()), None)
    if found is None:
        raise ConfigError(
            f"image set '{name}': this version of {project} has no {file} in {folders[0]}"
        )
    return found
