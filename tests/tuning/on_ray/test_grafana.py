"""The Grafana dashboard asks Prometheus for what the search tells, and the docs name all of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import grafana
from tuning.on_ray.metrics import METRICS

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    """deploy/grafana_dashboard.json."""
    found = json.loads((ROOT / "deploy/grafana_dashboard.json").read_text())
    assert isinstance(found, dict)
    return found


def queries(dashboard: dict[str, Any]) -> list[str]:
    """Every PromQL expression of it."""
    panels = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    return panels + [each["query"]["query"] for each in dashboard["templating"]["list"][1:]]


def exported_names() -> set[str]:
    """As Prometheus has them: Ray puts ``ray_`` before, and ``_total`` behind a counter."""
    ends = {"gauge": "", "counter": "_total"}
    return {f"ray_{name}{ends[metric.kind]}" for name, metric in METRICS.items()}


def test_the_dashboard_is_the_one_that_its_script_makes(dashboard: dict[str, Any]) -> None:
    assert dashboard == json.loads(json.dumps(grafana.dashboard()))


def test_panels_ask_for_what_is_exported_and_for_all_of_it(dashboard: dict[str, Any]) -> None:
    asked = {name for text in queries(dashboard) for name in re.findall(r"\bray_\w+", text)}
    assert asked == exported_names()


def test_panels_ask_by_tags_that_their_metric_has(dashboard: dict[str, Any]) -> None:
    for text in queries(dashboard):
        for name, matchers in re.findall(r"ray_(\w+?)(?:_total)?\{([^}]*)\}", text):
            allowed = {"experiment", *METRICS[name].tags}
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= allowed, text
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            names = re.findall(r"ray_(\w+?)(?:_total)?\{", target["expr"])
            tags = {tag for name in names for tag in METRICS[name].tags}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= tags, target


def test_quotients_are_of_sums(dashboard: dict[str, Any]) -> None:
    """Prometheus finds no pair where one side has a tag more, and shows nothing."""
    quotients = [text.split(" / ") for text in queries(dashboard) if " / " in text]
    assert len(quotients) == 2
    assert all(side.startswith("sum(") for sides in quotients for side in sides)


def test_the_dashboard_has_grafanas_form(dashboard: dict[str, Any]) -> None:
    """What Grafana needs to import it, and panels that do not overlap in its 24 columns."""
    assert {"title", "uid", "schemaVersion", "time", "templating", "panels"} <= set(dashboard)
    assert "id" not in dashboard or dashboard["id"] is None  # Grafana gives one
    assert [v["name"] for v in dashboard["templating"]["list"]] == ["datasource", "experiment"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        box = panel["gridPos"]
        cells = {(box["x"] + i, box["y"] + j) for i in range(box["w"]) for j in range(box["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_prometheus_finds_ray_by_its_own_file() -> None:
    from ray._private import ray_constants

    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    (discovery,) = job["file_sd_configs"]
    (file,) = discovery["files"]
    assert Path(file).name == ray_constants.PROMETHEUS_SERVICE_DISCOVERY_FILE
    assert Path(file).parent == Path("/tmp/ray")


def test_every_metric_is_documented_and_nothing_else() -> None:
    page = (ROOT / "docs/watching.md").read_text()
    rows = re.findall(r"^\| `(ray_hpcm_\w+)` \|([^|]*)\|", page, re.MULTILINE)
    assert {name for name, _ in rows} == exported_names()
    for name, tags in rows:
        own = name.removeprefix("ray_").removesuffix("_total")
        assert set(re.findall(r"`(\w+)`", tags)) == set(METRICS[own].tags), name
