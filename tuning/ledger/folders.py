"""Where experiments live: `<storage>/<space>-<date>-<time>/`, and what may be resumed."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any, cast

from hpcm.atomic_files import write_atomically
from hpcm.files import read_json
from hpcm.parts import differences, import_text, imported, missing_parts
from hpcm.schema import ConfigError, about, config_class, did_you_mean, load, shown
from tuning.ledger.ledger import LEDGER_FILE, Ledger
from tuning.ledger.lines import whole_lines
from tuning.spaces.defaults import STORAGE
from tuning.spaces.ladder_space import space_from_plain
from tuning.spaces.space import SearchSpace

STUDY_FILE = "study.journal"  # of an experiment, if its study is in no database
EXPERIMENT_FILE = "experiment.json"  # the space as it was searched, and who made it
LAST = "last"
RECORD = "the record of an experiment"


@config_class
class Facts:
    """Facts that are read back from an experiment's record; the others are for people."""

    experiment: str | None = None
    digest: str | None = None
    digest_before: str | None = None
    overrides: tuple[str, ...] = ()
    checkpoints: str | None = None
    study: str | None = None
    profile_reason: str = ""
    imports: dict[str, str] = dataclasses.field(default_factory=dict)  # name to SHA-256
    read: dict[str, str] = dataclasses.field(default_factory=dict)  # image sets and weights


def storage_folder(storage: str, write: bool = True) -> Path:
    """The folder of all experiments.

    Raises :class:`ConfigError` if it cannot be written to, unless ``write`` is false.
    """
    if "://" in storage:
        raise ConfigError(
            f"--storage {storage}: a URL; must be a folder that every node of the cluster sees"
        )
    try:
        folder = Path(storage).expanduser().absolute()
        existing = next(p for p in (folder, *folder.parents) if p.exists())
    except (OSError, RuntimeError) as error:  # a name too long, nobody's home
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--storage {shown(storage)}: {reason}") from None
    if not existing.is_dir():
        raise ConfigError(f"--storage {storage}: {existing} is a file; must be a folder")
    if not write:
        return folder
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"room?")
    except OSError as error:
        raise ConfigError(
            f"--storage {storage}: {existing} cannot be written to: {error.strerror}"
        ) from None
    return folder


def command_text(program: str, directory: Path) -> str:
    """The command ``program`` about an experiment, as a shell takes it: ``program NAME``, and what
    finds its folder and its parts.
    """
    return f"{program} {quote(directory.name)}{storage_text(directory.parent)}{import_text()}"


def storage_text(folder: Path) -> str:
    """How a command finds ``folder`` of experiments, `` --storage DIR``; nothing for the usual."""
    usual = folder == storage_folder(STORAGE, write=False)
    return "" if usual else f" --storage {quote(str(folder))}"


def new_name(space: SearchSpace, folder: Path) -> str:
    """A name that no experiment of the folder has: the space and the time of the start."""
    stem = f"{space.name}-{datetime.now():%Y%m%d-%H%M%S}"
    names = [stem, *(f"{stem}-{count}" for count in range(2, 100))]
    return next(name for name in names if not (folder / name).exists())


def experiments(folder: Path) -> list[str]:
    """The experiments of a folder, the one that ran last at the end."""
    found = [path.parent for path in folder.glob(f"*/{EXPERIMENT_FILE}")]
    return [path.name for path in sorted(found, key=_last_use)]


def find(folder: Path, name: str, space: str | None = None) -> Path:
    """The directory of an experiment; ``last`` is the one that ran last, of ``space`` if given.

    Raises :class:`ConfigError` if there is none.
    """
    names = experiments(folder)
    if name == LAST:
        for last in reversed(names):
            if space is None or read_provenance(folder / last)["space"].get("name") == space:
                return folder / last
        of = f" of {space}" if space else ""
        raise ConfigError(f"--resume last: no experiment{of} in {folder} (--storage names another)")
    if name not in names:
        hint = did_you_mean(Path(name).name, names) if names else "; it holds no experiment"
        raise ConfigError(
            f"--resume {shown(name)}: no such experiment in {folder}{hint}"
            " (--storage names another folder)"
        )
    return folder / name


def named(folder: Path, name: str, where: str) -> Path:
    """The directory of an experiment. Raises :class:`ConfigError`, which begins with ``where``."""
    known = experiments(folder)
    if name not in known:
        hint = did_you_mean(name, known) if known else "; it holds no experiment"
        raise ConfigError(f"{where}: {shown(name)}: not in {folder}{hint}")
    return folder / name


def write_experiment(directory: Path, space: SearchSpace, **provenance: Any) -> None:
    """Record the space that is searched, where it came from, and the imported parts."""
    directory.mkdir(parents=True, exist_ok=True)
    if parts := imported():
        provenance["imports"] = parts
    if (directory / EXPERIMENT_FILE).exists():  # a driver may die before its ledger is opened
        provenance["digest_before"] = read_provenance(directory).get("digest")
    record = {**provenance, "digest": space.digest, "space": space.to_plain()}
    write_atomically(directory / EXPERIMENT_FILE, json.dumps(record, indent=1).encode())


def read_experiment(directory: Path) -> SearchSpace:
    """The space of an experiment as it was last started. Raises :class:`ConfigError`."""
    record = read_provenance(directory)
    with about(f"{directory / EXPERIMENT_FILE}: not {RECORD}"):
        try:
            return space_from_plain(record["space"])
        except (AttributeError, KeyError, TypeError) as error:
            raise ConfigError(f"its space lacks or misplaces {error}") from None
        except RecursionError:
            raise ConfigError("its space is nested too deeply") from None
        except ConfigError as error:
            raise ConfigError(f"{error}{missing_parts('it', record.get('imports', {}))}") from None


def read_provenance(directory: Path) -> dict[str, Any]:
    """The whole of an experiment's record. Raises :class:`ConfigError` if it cannot be read."""
    path = directory / EXPERIMENT_FILE
    record: dict[str, Any] = read_json(path, RECORD)
    if not isinstance(record, dict) or not isinstance(record.get("space"), dict):
        raise ConfigError(f"{path}: not {RECORD}: it holds no search space")
    names = [field.name for field in dataclasses.fields(cast("Any", Facts))]
    load(Facts, {name: record[name] for name in names if name in record}, str(path))
    return record


def refuse_changes(old: SearchSpace, new: SearchSpace, name: str) -> None:
    """Raise :class:`ConfigError` if trials of the two spaces could not be compared."""
    breaking = [str(change) for change in old.diff(new) if change.breaks]
    if breaking:
        listed = "\n  ".join(breaking)
        raise ConfigError(
            f"--resume {name}: the search space changed since, so its trials would not compare:\n"
            f"  {listed}\nput the old values back, or start a new experiment without --resume"
        )


def refuse_other_parts(directory: Path) -> None:
    """Raise :class:`ConfigError` if other files were imported than when it was last started."""
    changes = differences(read_provenance(directory).get("imports", {}), imported())
    if changes:
        raise ConfigError(f"--resume {directory.name}: cannot go on: {'; '.join(changes)}")


def refuse_other_inputs(directory: Path, read: Mapping[str, str], what: str) -> None:
    """Raise :class:`ConfigError` if what its trials read is no more what it was.

    ``read``: what tells them apart now, by name. An experiment that recorded none passes.
    """
    before = read_provenance(directory).get("read", {})
    changed = [name for name in read if name in before and before[name] != read[name]]
    if changed:
        listed = "\n  ".join(f"{name}: {before[name]} -> {read[name]}" for name in changed)
        raise ConfigError(
            f"{what}: what its trials read has changed, so their scores would not compare:\n"
            f"  {listed}\nput the old files back, or start a new experiment"
        )


def refuse_smaller_budget(ledger: Ledger, space: SearchSpace) -> None:
    """Raise :class:`ConfigError` if fewer trials are asked for than there are."""
    there = len(ledger.records())
    if space.budget.trials < there:
        raise ConfigError(
            f"--resume {ledger.experiment}: budget.trials is {space.budget.trials}, but {there}"
            f" trials were proposed already; give {there} to end with them, or more to go on"
        )


def refuse_another_ledger(ledger: Ledger) -> None:
    """Raise :class:`ConfigError` if the ledger is not this experiment's: a copied folder, or file.

    A copied folder is read as any other, but only its original goes on: checkpoints and the study
    are found by the experiment's name.
    """
    directory, opened = ledger.path.parent, ledger.opened
    if opened is None or opened.experiment is None:
        return  # nothing was written yet, or by an earlier version
    if opened.experiment != directory.name:
        raise ConfigError(
            f"--resume {directory.name}: its {LEDGER_FILE} is that of {opened.experiment}; was the"
            " experiment renamed or copied? Give the folder its old name, or put its ledger back"
        )
    recorded = read_provenance(directory)
    known = {recorded.get("digest"), recorded.get("digest_before")}
    if opened.digest is not None and opened.digest not in known:
        raise ConfigError(
            f"--resume {directory.name}: its {LEDGER_FILE} is that of another search space (digest"
            f" {opened.digest}, {EXPERIMENT_FILE} has {recorded.get('digest')}); put its own back"
        )


def refuse_simulated(ledger: Ledger, where: str) -> None:
    """Raise :class:`ConfigError` for an experiment whose trials did not train."""
    if ledger.simulated:
        raise ConfigError(
            f"{where} {ledger.path.parent.name}: it was simulated on {ledger.simulated}; no trial"
            " of it was trained"
        )


def refuse_lost_ledger(directory: Path) -> None:
    """Raise :class:`ConfigError` if there are folders of trials and no line of any in the ledger.

    Without these lines all of them would be tried again, as if they were new.
    """
    ledger = directory / LEDGER_FILE
    if any(whole_lines(ledger)):
        return
    trials = sorted({path.name for path in directory.glob("checkpoints/*")})
    trials += sorted(path.name for path in directory.glob("*-[0-9][0-9][0-9][0-9]"))
    if trials:
        state = "is empty" if ledger.exists() else "is gone"
        raise ConfigError(
            f"{directory.name}: its {LEDGER_FILE} {state}, and there are folders of trials"
            f" ({trials[0]}, ..): what was tried is not known. Put the ledger back, or start a new"
            " experiment without --resume"
        )


def _last_use(directory: Path) -> float:
    ledger = directory / LEDGER_FILE
    return (ledger if ledger.exists() else directory / EXPERIMENT_FILE).stat().st_mtime
