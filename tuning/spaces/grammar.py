"""The page that explains search-space files, written from the classes that read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from hpcm.config_page import comment_of, first_line, table
from tuning.spaces.checks import NOT_SEARCHED
from tuning.spaces.documents import SHIPPED, shipped_spaces
from tuning.spaces.loading import load_space
from tuning.spaces.parameters import DISTRIBUTIONS
from tuning.spaces.scheduler_section import SCHEDULERS
from tuning.spaces.searcher_section import SEARCHERS
from tuning.spaces.sections import Budget, Confirm, Faults, Fidelity, Objective, Resources, Sections

PAGE = SHIPPED / "README.md"

TOP_LEVEL = (
    ("name", "the file's name without `.yaml`; may be left out"),
    ("extends", "one other space, by name or path; see below"),
    ("base", "part of a run config: what all trials share. What is absent keeps its default"),
    ("parameters", "what is searched: the path of a run-config field, and its distribution"),
    ("fidelity", "how long trials train"),
    ("objective", "what is compared"),
    ("scheduler", "which trials are stopped early"),
    ("searcher", "which configs are tried"),
    ("budget", "when the experiment ends"),
    ("resources", "what one trial gets"),
    ("faults", "when a trial or a node counts as broken"),
    ("confirm", "who is trained again on fresh seeds when the search is over"),
    ("profiles", "named overlays on everything but `parameters`"),
)
SECTIONS: dict[str, Mapping[str, type]] = {  # by the section's name, if it has a choice
    "fidelity": {"": Fidelity},
    "objective": {"": Objective},
    "scheduler": SCHEDULERS,
    "searcher": SEARCHERS,
    "budget": {"": Budget},
    "resources": {"": Resources},
    "faults": {"": Faults},
    "confirm": {"": Confirm},
}

INTRODUCTION = """\
# Search spaces

<!-- Written by tuning/spaces/grammar.py; renewed by
`pytest tests/tuning/spaces/test_grammar.py --regenerate`. -->

One YAML file is one question: which fields of a run config are searched, between which bounds,
and for how long. `python tune.py --space NAME` takes a name of this folder or a path;
`python tune.py --space NAME --dry-run` checks the file and shows the prior config, samples and
cost. `phase1.yaml` is a short example.
"""

PARAMETERS = """\
## Parameters

A key under `parameters` is the path of a run-config field, such as `optimizer.lr`; a parent
stands above its children. With choices that are lists it may name several fields, which change
together: `balancer.gamma_{s1,s2,s3}: {type: categorical, choices: [[..], ..], prior: [..]}`.
`type` selects the distribution:
"""

WHEN = """\
`when` says under which values of other parameters this one is active:
`when: {balancer.name: famo}` or `when: {balancer.name: [famo, famo_per_scale]}`; all conditions
must hold, and an inactive parent makes its children inactive. A float with `zero` can be asked to
be `nonzero`. A field that only some choices of a part have needs the condition that selects them.

What is sampled. A trial's flat config holds what the searcher drew, by coordinate: a field's own
path, except that `zero` adds `<path>.zero`, uniform in [0, 1], and the value is 0 if it is
below `zero`; a choice that is a list is drawn as its text, `[0.5, 0.3, 0.2]`; and a simplex of
size n is drawn as `<path>.0` to `<path>.<n-2>`, uniform in [0, 1], broken like a stick so that
all shares are equally likely.
"""

LAYERS = """\
## Profiles, extends, --set

A profile is laid over the file section by section; a section with another `name` replaces the old
one. `cluster` is the file as written and need not be given; `laptop` runs without a GPU.
If a file has no `laptop`, it is taken as written there too (`resources: {gpu: 0, cpu: 1}`).
`--profile auto`, the default, takes `cluster` if the cluster has or may get a GPU.

`extends` lays this file over one other, which may not extend a third. A parameter with a `type`
replaces the other file's, one without changes the keys it gives, and null drops it.

`--set key.path=value` comes last and uses the same keys: `--set budget.trials=4`,
`--set base.data.batch_size=8`, `--set parameters.optimizer.lr.high=1.0e-3`.
"""

REFUSED = """\
## What is refused

Each problem is one line with file or flag, key, what was given, and what is allowed: an unknown
key anywhere; a path that is no field; a wrong type (YAML reads `1e-4` as text: write `1.0e-4`); a
prior outside its range; a condition on a parameter that is not declared above, or on a value it
never has; a field that base fixes and parameters search; `mutable` on a field that cannot change
during a run or that decides whether another is active; a rung without a validation; a path where
the name of an image set under `$HPCM_DATA` belongs; and any choice or bound for which no run
config can be built, which is found by building them.

Not searched:
"""


def grammar_page() -> str:
    """The whole page, Markdown."""
    blocks = [
        INTRODUCTION,
        table(("key", "means"), ((f"`{key}`", text) for key, text in TOP_LEVEL)),
        PARAMETERS,
        table(("type", "is"), ((f"`{n}`", first_line(c)) for n, c in DISTRIBUTIONS.items())),
        table(("key", "of", "means", "default"), _distribution_rows()),
        WHEN,
        "## How to search\n",
        table(("key", "means", "default"), _section_rows()),
        LAYERS,
        REFUSED,
        "".join(f"- `{path}`: {reason}\n" for path, reason in NOT_SEARCHED.items()),
        "## The spaces here\n",
        table(("space", "question", "cluster", "laptop"), _shipped_rows()),
    ]
    return "\n".join(blocks)


def _distribution_rows() -> Iterator[Sequence[str]]:
    """One row per key and meaning, with the types that have it."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for kind, cls in DISTRIBUTIONS.items():
        for name, comment, default in described(cls):
            rows.setdefault((name, comment, default), []).append(kind)
    for (name, comment, default), kinds in rows.items():
        of = "all" if len(kinds) == len(DISTRIBUTIONS) else ", ".join(kinds)
        yield f"`{name}`", of, comment, default


def _section_rows() -> Iterator[Sequence[str]]:
    usual = Sections()
    for section, classes in SECTIONS.items():
        for choice, cls in classes.items():
            yield (
                f"`{section}.name: {choice}`" if choice else f"`{section}`",
                f"**{first_line(cls)}**",
                "the default" if choice and type(getattr(usual, section)) is cls else "",
            )
            for name, comment, default in described(cls):
                if name != "name":
                    yield f"`{section}.{name}`", comment, default


def _shipped_rows() -> Iterator[Sequence[str]]:
    for name in shipped_spaces():
        cluster, laptop = load_space(name), load_space(name, "laptop")
        sizes = [f"{s.budget.trials} x {s.fidelity.max} epochs" for s in (cluster, laptop)]
        yield f"`{name}`", cluster.question, *sizes


def described(cls: type) -> Iterator[tuple[str, str, str]]:
    """Name, comment and default of each field, the comment from the end of its line.

    The fields of a section below a field follow it.
    """
    hints = get_type_hints(cls)
    for field in fields(cls):
        comment = comment_of(cls, field.name)
        choices = _choices(hints[field.name]) if field.name != "name" else []
        if choices:
            listed = ", ".join(f"`{choice}`" for choice in choices)
            comment = f"{comment + ': ' if comment else ''}{listed}"
        yield field.name, comment, _default(field)
        if is_dataclass(hints[field.name]):
            for name, below, default in described(hints[field.name]):
                yield f"{field.name}.{name}", below, default


def _choices(hint: Any) -> list[Any]:
    """The values of a field whose type lists them, else nothing."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if get_origin(hint) not in (Union, UnionType):
        return []
    found = [_choices(member) for member in get_args(hint)]
    return [choice for group in found for choice in group] if all(found) else []


def _default(field: Any) -> str:
    if field.default is MISSING and field.default_factory is MISSING:
        return "required"
    value = field.default if field.default is not MISSING else field.default_factory()
    if is_dataclass(value):
        return ""
    if value == {}:
        return "none"
    return f"`{yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}`"
