"""The files in deploy/ and the manual name the metrics, labels, ports, exit codes and alarms that the code has."""

from __future__ import annotations

import configparser
import re
import typing

import pytest
from support.deployment import (
    DASHBOARDS,
    DEPLOY,
    NOT_SHOWN,
    QUERIES,
    ROOT,
    SAMPLES,
    SCRAPED,
    SHOWN,
    SUFFIXES,
    TARGET_LABELS,
    Query,
    labels_asked_for,
    names_in,
    own_metrics,
    panels,
    yaml,
)

from stream.core.errors import EXIT_USAGE
from stream.line.config import load
from stream.sink.policy.alarms import AlarmKind


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.where}: {query.legend}")
def test_every_query_of_a_dashboard_asks_for_metrics_and_labels_that_exist(query: Query):
    assert names_in(query.text), query.text
    assert names_in(query.text) - SAMPLES.keys() == set()
    for label, names in labels_asked_for(query):
        for name in names:
            assert label in SAMPLES[name], f"{query.where}: {name} has no label {label}"


@pytest.mark.parametrize("query", SHOWN, ids=lambda query: f"{query.where}: {query.legend}")
def test_every_query_is_limited_to_the_selected_line_and_where_possible_stations(query: Query):
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
def test_a_dashboard_is_laid_out_without_overlaps_and_names_no_fixed_data_source(name: str):
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


def test_there_are_dashboards_for_line_station_and_latency_each_with_its_own_uid():
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


def test_grafana_is_provisioned_with_one_data_source_and_one_folder_of_dashboards():
    (source,) = yaml(DEPLOY / "grafana/provisioning/datasources/patchline.yaml")["datasources"]
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == yaml(DEPLOY / "prometheus.yml")["global"]["scrape_interval"]
    (provider,) = yaml(DEPLOY / "grafana/provisioning/dashboards/patchline.yaml")["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] in (DEPLOY / "README.md").read_text(encoding="utf-8")


def test_systemd_waits_for_the_line_and_does_not_restart_what_cannot_succeed():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(DEPLOY / "systemd" / "patchline@.service")
    service = unit["Service"]
    assert (service["Type"], service["KillMode"], service["Restart"]) == ("notify", "mixed", "on-failure")
    assert service["RestartPreventExitStatus"] == str(EXIT_USAGE)
    restarts = load(ROOT / "configs" / "line.yaml").restarts
    assert float(service["TimeoutStopSec"]) > 3 * restarts.drain_s
    assert float(service["TimeoutStartSec"]) > 2 * restarts.ready_s


def test_the_manual_explains_every_kind_of_alarm_once():
    section = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8").partition("## Alarms")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", section, flags=re.MULTILINE)
    assert sorted(rows) == sorted(kind for kinds in typing.get_args(AlarmKind) for kind in typing.get_args(kinds))
