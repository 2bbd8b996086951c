"""The tables of `search_policy`: printed, and as data for its record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.policy_runs import MARKS, VARIANTS
from benchmarks.policy_scores import Results, leave_one_out, ranking, ratio, row

AGAINST = "Ray ASHA, TPE, prior first"
AGAINST_ARMS = "Ray ASHA, random"
DEFAULT = "default"


def tables(found: Results) -> dict[str, Any]:
    """Print every table, and give it as data."""
    groups = list(dict.fromkeys(result["group"] for of in found.values() for result in of))
    numbers: dict[str, Any] = {"groups": {}}
    for group in groups:
        of_group = {name: [r for r in of if r["group"] == group] for name, of in found.items()}
        against = AGAINST_ARMS if group == "recorded" else AGAINST
        numbers["groups"][group] = _print_group(group, of_group, against)
    if len(found) > 2:
        numbers["ranking"] = _print_ranking(found)
    choices = [name for name in (DEFAULT, *VARIANTS) if name in found]
    if AGAINST_ARMS in found and len(choices) > 1:
        numbers["leave_one_out"] = _print_left_out(found, choices)
    return numbers


def _print_group(group: str, of: Results, against: str) -> dict[str, Any]:
    rows = {}
    some = next(iter(of.values()))
    print(f"\n{group}: {len(some)} searches each; mean regret in percent [95 %]")
    print(
        f"{'':28}" + "".join(f"{mark:>20}" for mark in MARKS[2:]) + "   lost  spent   used  ratio"
    )
    for name, results in of.items():
        found = row(results)
        if against in of:
            found["ratio"] = ratio(results, of[against]) | {"against": against}
        rows[name] = found
        cells = "".join(
            f"{found[str(m)]['regret']:7.2f} [{found[str(m)]['interval'][0]:4.2f},"
            f" {found[str(m)]['interval'][1]:4.2f}]".rjust(20)
            for m in MARKS[2:]
        )
        lost = "      -" if found["lost"] is None else f"{100 * found['lost']:6.0f}%"
        text = f"{name:28}{cells}{lost}{found['spent']:7.1f}{100 * found['used']:6.0f}%"
        if "ratio" in found:
            low, high = found["ratio"]["interval"]
            text += f"  {found['ratio']['ratio']:.2f} [{low:.2f}, {high:.2f}]"
        print(text)
    return rows


def _print_ranking(found: Results) -> dict[str, Any]:
    ranks = ranking(found)
    p = ranks["friedman_p"]
    print(
        f"\nmean rank over {ranks['sources']} sources; critical difference"
        f" {ranks['critical_difference']:.2f} (Nemenyi, 0.05)"
        + ("" if p is None else f"; Friedman p = {p:.2g}")
    )
    for name, value in ranks["ranks"].items():
        print(f"{value:6.2f}  {name}")
    return ranks


def _print_left_out(found: Results, choices: Sequence[str]) -> list[dict[str, Any]]:
    rows = leave_one_out(found, choices, AGAINST_ARMS)
    print(
        f"\nchosen on all other sources, its regret over that of {AGAINST_ARMS} on the one left out"
    )
    for one in rows:
        print(f"{one['left_out']:40}{one['chosen']:28}{one['ratio']:6.2f}")
    return rows
