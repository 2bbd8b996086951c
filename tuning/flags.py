"""The flags of `tune.py`: few on purpose; everything else is a typed key of the search space."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from hpcm.commands.flags import add_imports
from hpcm.schema import ConfigError, did_you_mean
from tuning.spaces.defaults import STORAGE, STUDY_URL_FORM, STUDY_URL_VARIABLE

DESCRIPTION = "Search a space of run configs with Ray Tune, and export the best one."
EXAMPLES = """\
examples:
  python tune.py --space phase3
  python tune.py --space phase3 --dry-run
  python tune.py --space phase1 --set budget.trials=64 base.loss.lmbda=0.0067
  python tune.py --space phase3 --simulate family:good --slots 64
  python tune.py --resume last
"""


def parse_flags(words: Sequence[str]) -> argparse.Namespace:
    """The flags in ``words``. Raises :class:`ConfigError` naming the flag and what is allowed."""
    parser = flag_parser()
    flags, unknown = parser.parse_known_args(words)
    for word in unknown:
        name = word.partition("=")[0]
        if name.startswith("-"):
            raise ConfigError(f"{name}: no such flag{did_you_mean(name, flag_names())}")
        raise ConfigError(f"{word}: does not belong to a flag{_advice(word)}")
    for name in (
        "space",
        "profile",
        "resume",
        "storage",
        "checkpoints",
        "study_url",
        "address",
        "simulate",
    ):
        if getattr(flags, name) == "":
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag}: empty; give it a value or leave it out")
    if flags.space is None and flags.resume is None:
        raise ConfigError("--space: missing; give a name in search_spaces/ or a file, or --resume")
    if flags.dry_run and flags.resume is not None:
        raise ConfigError("--dry-run: not with --resume; an experiment that exists has its plan")
    _check_simulation(flags)
    return flags


def _check_simulation(flags: argparse.Namespace) -> None:
    """Refuse what a simulation would have to ignore, and what nothing but it uses."""
    if flags.simulate is None:
        if flags.slots is not None:
            raise ConfigError("--slots: only with --simulate; budget.concurrent is for a search")
        return
    for name in ("resume", "address", "checkpoints", "study_url", "dry_run"):
        if getattr(flags, name):
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag}: not with --simulate, which trains nothing")


def flag_names() -> list[str]:
    """All of them, in the order of the help."""
    actions = flag_parser()._actions
    return [name for action in actions for name in action.option_strings if name[:2] == "--"]


def flag_parser() -> argparse.ArgumentParser:
    """The parser; its errors are :class:`ConfigError`, never an exit."""
    parser = _Parser(
        prog="tune.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--space", metavar="NAME|FILE", help="what to search: a name in search_spaces/ or a file")
    add(
        "--profile",
        metavar="NAME",
        help="an overlay of the space; auto (default): cluster if there is or may be a GPU,"
        " else laptop",
    )
    add(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="override a key of the space, e.g. budget.trials=4",
    )
    add("--resume", metavar="NAME|last", help="continue an experiment instead of starting one")
    add(
        "--storage",
        metavar="DIR",
        default=STORAGE,
        help=f"folder of all experiments, shared by all nodes (default {STORAGE})",
    )
    add(
        "--checkpoints",
        metavar="DIR|URL",
        help="where checkpoints go: a folder that all nodes see, or s3://bucket/prefix and what"
        " else pyarrow knows (default: the experiment's folder); --resume knows it",
    )
    add(
        "--study-url",
        metavar="URL",
        help="PostgreSQL database for the copy of the trials that optuna-dashboard shows,"
        f" {STUDY_URL_FORM}; also {STUDY_URL_VARIABLE} of the environment (default: a file of the"
        " experiment)",
    )
    add_imports(parser)
    add("--address", metavar="HOST:PORT|auto", help="a Ray cluster; default: start Ray here")
    add(
        "--simulate",
        metavar="SOURCE",
        help="train nothing: search on family:NAME, on the folder of an experiment, or on"
        " curves:FILE[:WORKLOAD]",
    )
    add(
        "--slots",
        metavar="N",
        type=int,
        help="trials at a time in a simulation (default: budget.concurrent)",
    )
    add("--dry-run", action="store_true", help="check, show what would be done, create nothing")
    return parser


class _Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting with the usage."""
        text = message.removeprefix("argument ")
        raise ConfigError(f"{text}; see python tune.py --help")


def _advice(word: str) -> str:
    from tuning.spaces.documents import shipped_spaces  # which is slow to import

    if word in shipped_spaces() or word.endswith((".yaml", ".yml")):
        return f"; write --space {word}"
    return f"; write --set {word}" if "=" in word else "; see python tune.py --help"
