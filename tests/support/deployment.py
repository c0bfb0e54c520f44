"""What stands in deploy/, read for the tests of it: queries, rules, and the metrics that they may name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.metrics import MetricWrapperBase
from ruamel.yaml import YAML

from stream.core import metrics

ROOT = Path(__file__).parents[2]
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
