"""The alert rules of deploy/ name metrics that exist, fire when they must and only then."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.deployment import DEPLOY, ROOT, RULES, SAMPLES, Query, labels_asked_for, names_in, own_metrics, yaml
from support.programs import needs_program

TESTS = ROOT / "tests" / "deploy" / "rules_test.yaml"
ALERTS = [rule for rule in RULES if "alert" in rule]


def promtool(*arguments: str | Path, page: str | None = None) -> None:
    done = subprocess.run(
        ["promtool", *arguments], input=page, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout + done.stderr


@needs_program("promtool")
def test_prometheus_reads_its_configuration_and_the_rules_that_it_names():
    promtool("check", "config", DEPLOY / "prometheus.yml")
    assert yaml(DEPLOY / "prometheus.yml")["rule_files"] == ["prometheus/rules.yaml"]


@needs_program("promtool")
def test_alerts_fire_when_they_must_and_only_then():
    promtool("test", "rules", TESTS)


#: Prints a /metrics page on which every metric has a sample; a separate process, because metrics are global.
PAGE = """
from prometheus_client import generate_latest
from support.deployment import own_metrics
for metric in own_metrics():
    if metric._labelnames:
        metric.labels(*metric._labelnames)
print(generate_latest().decode())
"""


@needs_program("promtool")
def test_promtool_accepts_our_metrics():
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    page = subprocess.run(
        [sys.executable, "-c", PAGE], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    ).stdout
    assert all(f"# TYPE {next(iter(metric.describe())).name}" in page for metric in own_metrics())
    promtool("check", "metrics", page=page)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_asks_for_metrics_and_labels_that_exist(rule: Any):
    query = Query("", rule["expr"])
    assert names_in(query.text) - SAMPLES.keys() == set()
    assert names_in(query.text) or "node_filesystem" in query.text
    for label, names in labels_asked_for(query):
        for name in names:
            assert label in SAMPLES[name], f"{name} has no label {label}"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_has_severity_line_and_documentation(alert: Any):
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert "for" in alert
    assert alert["annotations"].keys() == {"summary", "description", "docs"}
    page, _, anchor = alert["annotations"]["docs"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
    alarms = set(re.findall(r"^\| `(\w+)` \|", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"See (\w+_\w+)", alert["annotations"]["description"])) <= alarms


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent(alert: Any):
    expected = [
        case["exp_samples"]
        for group in yaml(TESTS)["tests"]
        for case in group.get("promql_expr_test", ())
        if f'alertname="{alert["alert"]}"' in case["expr"]
    ]
    assert [] in expected
    assert any(expected)


def test_the_healthy_line_has_every_metric_that_an_alert_queries():
    (healthy, *_) = yaml(TESTS)["tests"]
    given = {name for series in healthy["input_series"] for name in names_in(series["series"])}
    queried = {name for alert in ALERTS for name in names_in(alert["expr"])}
    assert {name for name in queried if name.startswith(("patchline_", "up"))} <= given
