"""Parts of your own: `register` adds one to its dict; `import_parts` runs a file that does so.

A part is added by whoever starts a run, never by a config file: reading a config runs no code. What
was imported is known by name and SHA-256, for records and checkpoints: :func:`imported`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from hpcm.files import read_bytes
from hpcm.schema import ConfigError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of part: the dict that holds all of them, and what each of them is.

    Each is given as it is or as ``"module:name"``, which is imported when a part is registered.
    """

    dict_of_parts: MutableMapping[str, Any] | str
    base: type | str  # of its config classes; if the dict holds objects, their class

    @property
    def parts(self) -> MutableMapping[str, Any]:
        """The dict."""
        return cast("MutableMapping[str, Any]", _found(self.dict_of_parts))

    @property
    def of(self) -> type:
        """The class."""
        return cast("type", _found(self.base))


#: By the name that `register` takes. A package that has parts of its own adds a line.
KINDS: dict[str, Kind] = {
    "optimizer": Kind("hpcm.optimizers:OPTIMIZERS", "hpcm.optimizers:OptimizerConfig"),
    "balancer": Kind("hpcm.optimizers:BALANCERS", "hpcm.optimizers:BalancerConfig"),
    "regularizer": Kind("hpcm.losses:REGULARIZERS", "hpcm.losses.regularizer:RegularizerConfig"),
    "gamma_schedule": Kind(
        "hpcm.optimizers.gamma_schedules:GAMMA_SCHEDULES",
        "hpcm.optimizers.gamma_memory:GammaSchedule",
    ),
    "scale_gamma_schedule": Kind(
        "hpcm.optimizers.gamma_schedules:SCALE_GAMMA_SCHEDULES",
        "hpcm.optimizers.gamma_memory:GammaSchedule",
    ),
    "lr_schedule": Kind("hpcm.schedules:LR_SCHEDULES", "hpcm.schedules:LrShape"),
    "task_set": Kind("hpcm.losses:TASK_SETS", "hpcm.losses.task_set:TaskSet"),
    "distortion": Kind("hpcm.losses:DISTORTIONS", "hpcm.losses.distortions:Distortion"),
    "model": Kind("hpcm.model:MODELS", "hpcm.model.spec:HPCMSpec"),
}

_imported: dict[str, str] = {}  # name of a file to its SHA-256


def register(kind: str, name: str, part: Any) -> None:
    """Add ``part`` to those that a config may name: ``register("balancer", "mine", Mine)``.

    A config class if the kind's dict holds config classes, else an object such as a `TaskSet`.
    Raises :class:`ConfigError` if the name is taken or ``part`` is not of that kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"register: kind {kind!r} is unknown{did_you_mean(kind, KINDS)}")
    parts, of = KINDS[kind].parts, KINDS[kind].of
    if name in parts:
        raise ConfigError(f"register: {kind} {name!r} exists already; give yours another name")
    sections = isinstance(next(iter(parts.values())), type)
    if not sections:
        if not isinstance(part, of):
            raise ConfigError(f"register: {kind} {name!r} is {part!r}; must be a {of.__name__}")
    elif not (isinstance(part, type) and issubclass(part, of) and dataclasses.is_dataclass(part)):
        raise ConfigError(
            f"register: {kind} {name!r} is {part!r}; must be a subclass of {of.__name__} that "
            "@config_class decorates"
        )
    own = getattr(part, "name", name)
    if own != name:
        raise ConfigError(f"register: {kind} {name!r} calls itself {own!r}")
    parts[name] = part


def import_parts(paths: Iterable[str | Path]) -> None:
    """Run Python files that register parts, before any config is read.

    A file that was imported already is passed over. Raises :class:`ConfigError` if one cannot be
    read, breaks, or has changed since it was imported.
    """
    for path in map(Path, paths):
        try:
            digest = hashlib.sha256(read_bytes(path)).hexdigest()
        except ConfigError as error:
            raise ConfigError(f"--import {error}") from None
        if _imported.get(path.name) == digest:
            continue
        if path.name in _imported:
            raise ConfigError(f"--import {path}: another {path.name} is imported already")
        _run(path)
        _imported[path.name] = digest


def imported() -> dict[str, str]:
    """The files that were imported: name to SHA-256, in this order."""
    return dict(_imported)


def differences(saved: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between the files of a run that is continued and those imported ``now``."""
    changes = []
    for name in dict.fromkeys([*saved, *now]):
        before, after = saved.get(name), now.get(name)
        if after is None:
            changes.append(f"--import {name} is missing (SHA-256 {before})")
        elif before is None:
            changes.append(f"--import {name} was not there (SHA-256 {after})")
        elif before != after:
            changes.append(f"--import {name}: SHA-256 was {before}, now {after}")
    return changes


def _found(what: Any) -> Any:
    """What ``"module:name"`` names; anything else as it is."""
    if not isinstance(what, str):
        return what
    module, _, name = what.partition(":")
    return getattr(import_module(module), name)


def _run(path: Path) -> None:
    """Execute ``path`` as the module of its name, so that what it defines can be pickled."""
    name = path.stem
    if path.suffix != ".py" or not name.isidentifier():
        raise ConfigError(f"--import {path}: must be a Python file whose name is an identifier")
    known = importlib.util.find_spec(name)
    if known is not None and Path(known.origin or "").resolve() != path.resolve():
        raise ConfigError(f"--import {path}: there is a module {name!r} already; rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before = {kind: dict(KINDS[kind].parts) for kind in KINDS}
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        for kind, parts in before.items():  # a file adds all of its parts or none
            KINDS[kind].parts.clear()
            KINDS[kind].parts.update(parts)
        raise ConfigError(f"--import {path}{_line(error, path)}: {error or type(error)}") from error


def _line(error: Exception, path: Path) -> str:
    """``:12`` if the error came up below line 12 of ``path``."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = path.resolve()
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == own]
    return f":{lines[-1]}" if lines else ""
