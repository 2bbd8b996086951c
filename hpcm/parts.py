"""Parts of your own: `register` adds one to its dict; `import_parts` runs a file that does so.

A part is added by whoever starts a run, never by a config file: reading a config runs no code. What
was imported is known by name and SHA-256, for records and checkpoints: :func:`imported`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import shlex
import sys
import traceback
from collections.abc import Iterable, Mapping, MutableMapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
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


@dataclasses.dataclass(frozen=True)
class Source:
    """A file that was imported, as it was read."""

    path: str  # as it was given
    content: bytes

    @property
    def digest(self) -> str:
        """Its SHA-256."""
        return hashlib.sha256(self.content).hexdigest()


_imported: dict[str, Source] = {}  # by the file's name
_registered: list[tuple[str, str]] = []  # kind and name, in order


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
    _registered.append((kind, name))


def import_parts(paths: Iterable[str | Path]) -> None:
    """Run Python files that register parts, before any config is read.

    A file that was imported already is passed over. Raises :class:`ConfigError` if one cannot be
    read, breaks, or has changed since it was imported.
    """
    for path in map(Path, paths):
        try:
            source = Source(str(path), read_bytes(path))
        except ConfigError as error:
            raise ConfigError(f"--import {error}") from None
        if _is_new(path, source):
            _refuse_name(path)
            _run(path, source)


def import_sources(sources: Iterable[Source]) -> None:
    """Run the files that another process has imported: its :func:`sources`.

    Nothing is read from a disk. Raises :class:`ConfigError` as :func:`import_parts`.
    """
    for source in sources:
        if _is_new(Path(source.path), source):
            _run(Path(source.path), source)


def imported() -> dict[str, str]:
    """The files that were imported: name to SHA-256, in this order."""
    return {name: source.digest for name, source in _imported.items()}


def sources() -> tuple[Source, ...]:
    """The files that were imported, in this order."""
    return tuple(_imported.values())


def import_text() -> str:
    """How a command imports the same files, `` --import a.py b.py``; nothing if there is none."""
    paths = [source.path for source in _imported.values()]
    return f" --import {shlex.join(paths)}" if paths else ""


def missing_parts(what: str, saved: Mapping[str, str]) -> str:
    """A line on the files that ``what`` was made with and that are not imported now, if any."""
    missing = [name for name in saved if name not in _imported]
    return f"\n{what} had --import {' '.join(sorted(missing))}" if missing else ""


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


def _is_new(path: Path, source: Source) -> bool:
    """Whether it is still to be run. Raises :class:`ConfigError` if another has its name."""
    known = _imported.get(path.name)
    if known is not None and known.content != source.content:
        raise ConfigError(f"--import {path}: another {path.name} is imported already")
    return known is None


def _refuse_name(path: Path) -> None:
    """Raise :class:`ConfigError` if it cannot be a module, or another has its name."""
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise ConfigError(f"--import {path}: must be a Python file whose name is an identifier")
    known = importlib.util.find_spec(path.stem)
    if known is not None and Path(known.origin or "").resolve() != path.resolve():
        raise ConfigError(
            f"--import {path}: there is a module {path.stem!r} already; rename the file"
        )


def _run(path: Path, source: Source) -> None:
    """Execute a file as the module of its name, so that what it defines can be pickled."""
    name, before = path.stem, len(_registered)
    module = ModuleType(name)
    module.__file__ = str(path)
    module.__spec__ = ModuleSpec(name, None, origin=str(path))
    sys.modules[name] = module
    try:
        code = compile(source.content, str(path), "exec", dont_inherit=True)
        exec(code, module.__dict__)
    except Exception as error:
        del sys.modules[name]
        for kind, part in _registered[before:]:  # a file adds all of its parts or none
            del KINDS[kind].parts[part]
        del _registered[before:]
        raise ConfigError(f"--import {path}{_line(error, path)}: {error or type(error)}") from error
    _imported[path.name] = source


def _line(error: Exception, path: Path) -> str:
    """``:12`` if the error came up below line 12 of ``path``."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = path.resolve()
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == own]
    return f":{lines[-1]}" if lines else ""
