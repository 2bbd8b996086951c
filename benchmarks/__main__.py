"""``python -m benchmarks NAME ..``: run one measurement; each module with a ``main`` is one."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence

import benchmarks

#: Modules of the package that are no measurements.
PARTS = {
    "__main__",
    "guarded_coder",
    "kernels",
    "mutations",
    "official",
    "plain_codec",
    "policy_grid",
    "policy_ray",
    "policy_runs",
    "policy_scores",
    "policy_tables",
    "record",
    "search_driver",
    "search_many",
    "search_slots",
    "search_whole",
    "sleeping_trial",
    "yaml_mutations",
    "step_side",
}


def main(arguments: Sequence[str]) -> int:
    """Run the measurement that the first argument names, with the others."""
    names = sorted({module.name for module in pkgutil.iter_modules(benchmarks.__path__)} - PARTS)
    if not arguments or arguments[0] not in names:
        print(f"usage: python -m benchmarks {{{','.join(names)}}} [OPTIONS]", file=sys.stderr)
        return 2
    importlib.import_module(f"benchmarks.{arguments[0]}").main(list(arguments[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
