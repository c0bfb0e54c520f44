"""What stands in deploy/ speaks of the metrics, labels, ports and exit codes that the code has."""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.metrics import MetricWrapperBase
from ruamel.yaml import YAML

from stream import metrics
from stream.config import load
from stream.errors import EXIT_USAGE

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
#: Metrics that need not be on the dashboard: name → reason.
NOT_SHOWN: dict[str, str] = {}


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


SCRAPED = yaml(DEPLOY / "prometheus.yml")["scrape_configs"]
#: What prometheus.yml puts on every sample, and Prometheus itself.
TARGET_LABELS = {"job", "instance"} | {
    label for job in SCRAPED for targets in job["static_configs"] for label in targets["labels"]
}
RULES = [rule for group in yaml(DEPLOY / "prometheus" / "rules.yaml")["groups"] for rule in group["rules"]]
#: Names under which a metric of each type is stored.
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def stored_samples() -> dict[str, set[str]]:
    """Every name that a query may use, with its labels."""
    samples: dict[str, set[str]] = {"up": TARGET_LABELS}
    for rule in RULES:
        if "record" in rule:
            grouped = [set(labels.split(", ")) for labels in re.findall(r"by \(([^)]*)\)", rule["expr"])]
            samples[rule["record"]] = set.intersection(*grouped) - {"le"}
    for metric in own_metrics():
        (family,) = metric.describe()
        for suffix in SUFFIXES[family.type]:
            labels = set(metric._labelnames) | TARGET_LABELS
            samples[family.name + suffix] = labels | {"le"} if suffix == "_bucket" else labels
    return samples


def own_metrics() -> list[MetricWrapperBase]:
    return [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]


SAMPLES = stored_samples()
DASHBOARDS = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((DEPLOY / "grafana").glob("*.json"))
}


class Query(NamedTuple):
    """One expression of a dashboard or rule; `legend` names the labels that its result must have."""

    where: str
    text: str
    legend: str = ""


def panels(dashboard: Any) -> list[Any]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


SHOWN = [
    Query(f"{name}, {panel['title']}", target["expr"], target["legendFormat"])
    for name, dashboard in DASHBOARDS.items()
    for panel in panels(dashboard)
    for target in panel["targets"]
]
QUERIES = SHOWN + [
    Query(f"{name}, ${variable['name']}", variable["query"]["query"])
    for name, dashboard in DASHBOARDS.items()
    for variable in dashboard["templating"]["list"]
    if variable["type"] == "query"
]


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\bpatchline[_:][\w:]+|\bup\b", re.sub(r'"[^"]*"', '""', expression)))


def argument(expression: str, opening: int) -> str:
    """What stands between the parenthesis at `opening` and the one that closes it."""
    depth = 0
    for position in range(opening, len(expression)):
        depth += {"(": 1, ")": -1}.get(expression[position], 0)
        if depth == 0:
            return expression[opening + 1 : position]
    raise AssertionError(f"unbalanced: {expression}")


def labels_asked_for(query: Query) -> Iterator[tuple[str, set[str]]]:
    """(label, the samples that must carry it): from selectors, groupings, `label_values` and the legend."""
    for name, selector in re.findall(r"(\bpatchline[_:][\w:]+|\bup)\{([^}]*)\}", query.text):
        for label in re.findall(r"(\w+)\s*[=!]~?", re.sub(r'"[^"]*"', "", selector)):
            yield label, {name}
    for grouping in re.finditer(r"\bby \(([^)]*)\) ", query.text):
        for label in grouping[1].split(", "):
            yield label, names_in(argument(query.text, grouping.end()))
    for name, label in re.findall(r"label_values\((\w+).*, (\w+)\)$", query.text):
        yield label, {name}
    for label in re.findall(r"\{\{(\w+)\}\}", query.legend):
        grouped = re.findall(r"\bby \(([^)]*)\)", query.text)
        assert all(label in group.split(", ") for group in grouped), f"{query.where}: {label} is aggregated away"
        yield label, names_in(query.text)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.where}: {query.legend}")
def test_every_query_of_a_dashboard_asks_for_metrics_and_labels_that_exist(query: Query):
    assert names_in(query.text), query.text
    assert names_in(query.text) - SAMPLES.keys() == set()
    for label, names in labels_asked_for(query):
        for name in names:
            assert label in SAMPLES[name], f"{query.where}: {name} has no label {label}"


@pytest.mark.parametrize("query", SHOWN, ids=lambda query: f"{query.where}: {query.legend}")
def test_every_query_that_can_is_limited_to_the_chosen_line_and_stations(query: Query):
    for name in names_in(query.text):
        selectors = re.findall(name + r"\{([^}]*)\}", query.text)
        assert len(selectors) == query.text.count(name)
        for selector in selectors:
            assert 'line=~"$line"' in selector
            assert ('station=~"$station"' in selector) == ("station" in SAMPLES[name])


def test_the_checks_above_find_labels_in_all_places():
    x, y = "patchline_x_bucket", "patchline_y"
    text = f'sum by (le, a) (rate({x}{{b="up", d=~".*"}}[1m])) / sum by (a) ({y})'
    assert list(labels_asked_for(Query("", text, "{{a}} p50"))) == [
        *(("b", {x}), ("d", {x})),
        *(("le", {x}), ("a", {x}), ("a", {y})),
        ("a", {x, y}),
    ]


def test_every_metric_is_on_a_dashboard_or_has_a_reason_not_to_be():
    shown = {name for query in QUERIES for name in names_in(query.text)}
    for metric in own_metrics():
        (family,) = metric.describe()
        assert family.name.startswith("patchline_")
        on_dashboard = any(family.name + suffix in shown for suffix in SUFFIXES[family.type])
        assert on_dashboard != (family.name in NOT_SHOWN), f"{family.name}: shown {on_dashboard}"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_laid_out_without_overlaps_and_names_no_data_source_of_its_own(name: str):
    dashboard = DASHBOARDS[name]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= covered
    for panel in panels(dashboard):
        assert {source["datasource"]["uid"] for source in (panel, *panel["targets"])} == {"${datasource}"}
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "line", "station"}


def test_there_is_a_dashboard_of_the_line_of_a_station_and_of_latency_each_by_its_own_address():
    assert DASHBOARDS.keys() == {"line", "station", "latency"}
    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS)


def test_prometheus_scrapes_the_processes_of_the_demo():
    line = load(ROOT / "configs" / "demo.yaml")
    scraped = {targets["labels"]["process"]: targets["targets"] for job in SCRAPED for targets in job["static_configs"]}
    addresses = {role: line.metrics_address(role) for role in line.roles}
    assert scraped == {role: [f"{address[0]}:{address[1]}"] for role, address in addresses.items() if address}
    assert list(scraped) == line.roles
    assert {targets["labels"]["line"] for job in SCRAPED for targets in job["static_configs"]} == {line.line}


def test_no_label_of_a_target_hides_a_label_of_a_metric():
    for metric in own_metrics():
        assert not set(metric._labelnames) & TARGET_LABELS, metric


def test_grafana_is_told_of_one_data_source_and_one_folder_of_dashboards():
    (source,) = yaml(DEPLOY / "grafana/provisioning/datasources/patchline.yaml")["datasources"]
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == yaml(DEPLOY / "prometheus.yml")["global"]["scrape_interval"]
    (provider,) = yaml(DEPLOY / "grafana/provisioning/dashboards/patchline.yaml")["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] in (DEPLOY / "README.md").read_text(encoding="utf-8")


def test_systemd_waits_for_the_line_and_does_not_repeat_what_cannot_succeed():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(DEPLOY / "systemd" / "patchline@.service")
    service = unit["Service"]
    assert (service["Type"], service["KillMode"], service["Restart"]) == ("notify", "mixed", "on-failure")
    assert service["RestartPreventExitStatus"] == str(EXIT_USAGE)
    restarts = load(ROOT / "configs" / "line.yaml").restarts
    assert float(service["TimeoutStopSec"]) > 3 * restarts.drain_s
    assert float(service["TimeoutStartSec"]) > 2 * restarts.ready_s
