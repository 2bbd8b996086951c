"""The Grafana dashboard of a search: `python -m deploy.grafana` writes it as JSON beside this file.

Grafana keeps a panel in forty lines of JSON, of which three are ours; those stand here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("grafana_dashboard.json")
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
HERE = 'experiment="$experiment"'
COLUMNS = 24


def dashboard() -> dict[str, Any]:
    """The whole dashboard, as Grafana imports it."""
    return {
        "title": "hpcm-tune: a search",
        "uid": "hpcm-tune-search",
        "description": "Trials, objective, rungs and failures of one experiment.",
        "tags": ["hpcm-tune", "ray"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "panels": _placed(_panels()),
    }


def _variables() -> list[dict[str, Any]]:
    experiments = {"query": "label_values(ray_hpcm_trials, experiment)", "refId": "experiments"}
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "experiment",
            "label": "Experiment",
            "type": "query",
            "datasource": SOURCE,
            "query": experiments,
            "definition": experiments["query"],
            "refresh": 2,
            "sort": 2,
        },
    ]


def _panels() -> list[dict[str, Any]]:
    best, prior = _of("best_objective"), _of("prior_objective")
    ended = _of("trials", 'state=~"finished|stopped|failed"')
    running = _of("trials", 'state="running"')
    paused = _of("rung_trials", 'fate=~"waiting|stopped"')
    return [
        _number("Best objective", best),
        _number("The prior at that epoch", prior),
        _number("Trials ended", f"sum({ended}) / sum({_of('trials_budget')})", "percentunit"),
        _number("Running, of the slots", f"sum({running}) / sum({_of('slots')})", "percentunit"),
        _number("Hours spent", _of("hours"), "h", legend="{{device}}"),
        _number("Since the last news", _of("report_age_seconds"), "s"),
        _curves(
            "Trials by state",
            {_of("trials"): "{{state}}", _of("confirm_runs"): "fresh seeds: {{state}}"},
            stacked=True,
        ),
        _curves("Objective", {best: "best", prior: "the prior at that epoch"}),
        _curves("Rungs: reached", {_of("rung_trials", 'fate="reached"'): "epoch {{epoch}}"}),
        _curves("Rungs: waiting and stopped", {paused: "epoch {{epoch}} {{fate}}"}),
        _curves(
            "Rungs: tau-b with what came later", {_of("rung_tau"): "epoch {{epoch}} to {{to}}"}
        ),
        _curves("Rungs: losers watched", {_of("rung_losers"): "epoch {{epoch}} to {{to}}"}),
        _curves("Epochs a minute", {f"60 * rate({_of('epochs_total')}[5m])": "epochs"}),
        _curves(
            "Failures and restarts",
            {_of("failures"): "{{class}}", _of("restarts_total"): "started again"},
        ),
        _row("Running trials"),
        _curves("Objective", {_of("trial_objective"): "{{trial}}"}),
        _curves("Epoch", {_of("trial_epoch"): "{{trial}}"}),
        _curves("Bits per pixel", {_of("trial_bpp"): "{{trial}}"}),
        _curves("PSNR", {_of("trial_psnr"): "{{trial}}"}, "dB"),
        _curves("Seconds of an epoch", {_of("trial_epoch_seconds"): "{{trial}}"}, "s"),
        _curves("Task weights", {_of("trial_task_weight"): "{{trial}} {{task}}"}),
        _curves("Gammas", {_of("trial_gamma"): "{{trial}} {{scale}}"}),
    ]


def _of(name: str, matcher: str = "") -> str:
    """One of our metrics, of the chosen experiment."""
    return f"ray_hpcm_{name}{{{', '.join(filter(None, (HERE, matcher)))}}}"


def _number(title: str, query: str, unit: str = "none", legend: str = "") -> dict[str, Any]:
    panel = _panel("stat", title, {query: legend}, unit, (COLUMNS // 6, 4))
    calculation = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    panel["options"] = {"reduceOptions": calculation, "colorMode": "none", "graphMode": "area"}
    return panel


def _curves(
    title: str, queries: dict[str, str], unit: str = "none", stacked: bool = False
) -> dict[str, Any]:
    """Lines over time; ``queries``: PromQL to the name of its lines."""
    panel = _panel("timeseries", title, queries, unit, (COLUMNS // 2, 8))
    drawn: dict[str, Any] = {"lineWidth": 2, "fillOpacity": 0, "showPoints": "never"}
    if stacked:
        drawn |= {"fillOpacity": 40, "stacking": {"mode": "normal", "group": "A"}}
    panel["fieldConfig"]["defaults"]["custom"] = drawn
    panel["options"] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "asc"},
    }
    return panel


def _row(title: str) -> dict[str, Any]:
    box = {"w": COLUMNS, "h": 1}
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": box}


def _panel(
    kind: str, title: str, queries: dict[str, str], unit: str, size: tuple[int, int]
) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + k), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for k, (query, legend) in enumerate(queries.items())
    ]
    return {
        "type": kind,
        "title": title,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "gridPos": {"w": size[0], "h": size[1]},
    }


def _placed(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The panels from left to right, row by row, each with its number."""
    x = y = height = 0
    for number, panel in enumerate(panels, start=1):
        box = panel["gridPos"]
        if x + box["w"] > COLUMNS:
            x, y, height = 0, y + height, 0
        panel["id"] = number
        box |= {"x": x, "y": y}
        x, height = x + box["w"], max(height, box["h"])
    return panels


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1) + "\n")
    print(FILE)
