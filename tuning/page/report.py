"""``python -m tuning report``: the page of an experiment in one file, as it stands now.

It is the live page with its data inside: the same markup, styles and drawings, in one document that
asks for nothing from anywhere, not even from the folder beside it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from hpcm.atomic_files import write_atomically
from hpcm.evaluation.results import written
from tuning.ledger.records import TrialRecord
from tuning.page.analysis import analysis_data
from tuning.page.data import experiment_data, plain, trial_data
from tuning.page.live_ledger import LiveLedger
from tuning.page.pictures import pictures_data
from tuning.results.outcome import ExperimentResult

REPORT_FILE = "report.html"  # of an experiment, once its search is over
WEB = Path(__file__).parent / "web"
STYLES = ("page.css", "analysis.css")
#: The page's modules; each stands behind those that it imports.
SCRIPTS = (
    *("save", "source", "charts", "words", "view", "confirm", "fidelity", "rungs", "table"),
    *("trial", "effects", "ladder", "analysis", "pictures", "page"),
)
COMPARISON = ("save", "source", "charts", "words", "compare")  # of a report of several
MOST_DETAILS = 60  # trials whose details are inside
IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?:async )?(?:function|const) (\w+)", re.MULTILINE)


def write_report(result: ExperimentResult, path: Path) -> Path:
    """Write the report of an experiment. Raises :class:`ConfigError` if it cannot be written."""
    return write_document(report_html(report_data(result)), path)


def write_comparison(data: dict[str, Any], path: Path) -> Path:
    """Write one report of several. Raises :class:`ConfigError` if it cannot be written."""
    inside = {"written": time.time(), "compared": plain(data)}
    title = " and ".join(data["names"])
    return write_document(document("compare.html", COMPARISON, inside, title), path)


def write_document(text: str, path: Path) -> Path:
    """Write a document, making its folder. Raises :class:`ConfigError`."""
    with written(path):
        write_atomically(path, text.encode())
    return path


def report_data(result: ExperimentResult) -> dict[str, Any]:
    """The answers of the page's server by their addresses."""
    space, directory = result.info.space, result.info.directory
    ledger = LiveLedger(directory, devices=space.resources.devices)
    shown = [number for number in _detailed(result) if number in ledger.trials]
    log = {"name": "logs are not in a report", "text": str(directory), "cut": 0}
    return {
        "written": time.time(),
        "api/experiment": plain(experiment_data(ledger, space)),
        "api/analysis": plain(analysis_data(ledger, space, result)),
        "api/pictures": plain(pictures_data(result)),
        **{f"api/trials/{n}": plain(trial_data(ledger, space, n)) for n in shown},
        **{f"api/trials/{n}/log": plain({"files": [log]}) for n in ledger.trials},
    }


def report_html(data: dict[str, Any]) -> str:
    """The document of one experiment."""
    return document("page.html", SCRIPTS, data, data["api/experiment"]["name"])


def document(template: str, scripts: Sequence[str], data: dict[str, Any], title: str) -> str:
    """A page with its data inside. It may run its own script and use its own styles, no more."""
    style = "\n".join((WEB / file).read_text() for file in STYLES)
    script = bundle(scripts)
    inside = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    page = (WEB / template).read_text()
    page = re.sub(r'<link rel="(?:icon|stylesheet)"[^>]*>\n', "", page)
    page = re.sub(r'<script type="module"[^>]*></script>\n', "", page)
    policy = (
        f"default-src 'none'; script-src '{_hashed(script)}'; style-src '{_hashed(style)}';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{style}</style>\n'
    )
    tail = (
        f'<script type="application/json" id="embedded">{inside}</script>\n'
        f"<script>{script}</script>\n"
    )
    page = page.replace("<title>hpcm-tune</title>\n", f"<title>{escape(title)}</title>\n{head}")
    return page.replace("</body>", f"{tail}</body>")


def bundle(scripts: Sequence[str]) -> str:
    """Modules as one script: each is a function that gives what it exports."""
    parts = ['"use strict";']
    for name in scripts:
        code = (WEB / f"{name}.js").read_text()
        exports = EXPORT.findall(code)
        code = IMPORT.sub(r"const \1 = module_\2;", code)
        code = re.sub(r"^export ", "", code, flags=re.MULTILINE)
        given = f"return {{ {', '.join(exports)} }};"
        parts.append(f"const module_{name} = (() => {{\n{code}\n{given}\n}})();")
    return "\n".join(parts)


def _hashed(text: str) -> str:
    """How a policy names what stands in the document."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _detailed(result: ExperimentResult) -> list[int]:
    """The trials whose details are inside: those that the answer is about, then the best ones."""
    objective = result.info.space.objective
    score, sign = objective.score, objective.sign

    def order(trial: TrialRecord) -> tuple[float, float]:
        return -trial.epochs, sign * trial.scored(score).get(score, float("inf") * sign)

    finalists = result.confirmation.finalists if result.confirmation else ()
    first = [t for t in (result.best, result.prior, *(one.trial for one in finalists)) if t]
    ranked = [*first, *sorted(result.trials, key=order)]
    shown = (trial.number for trial in ranked if trial.role == "search")
    return list(dict.fromkeys(shown))[:MOST_DETAILS]
