"""The alert rules and the dashboard: every query can be read, and asks for metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from antiphon.server.observing.catalogue import METRICS, exposed_names

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules" / "antiphon.yml").read_text("utf-8"))
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "antiphon.json").read_text("utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    shown = [target["expr"] for panel in PANELS for target in panel["targets"]]
    noted = [note["expr"] for note in DASHBOARD["annotations"]["list"]]
    return [rule["expr"] for rule in ALERTS] + shown + noted


def read(query: str) -> Any:
    """A query as Prometheus reads it, Grafana's variables filled in."""
    return promql_parser.parse(query.replace("$__rate_interval", "5m").replace("$instance", ".*"))


def selectors(node: Any) -> list[Any]:
    """Every selection of series in it."""
    found = []
    if isinstance(node, promql_parser.VectorSelector):
        found.append(node)
    for name in ("expr", "lhs", "rhs", "vector_selector", "vs", "param"):
        inner = getattr(node, name, None)
        if inner is not None and not isinstance(inner, str):
            found += selectors(inner)
    for inner in getattr(node, "args", None) or ():
        found += selectors(inner)
    return found


def declared() -> dict[str, set[str]]:
    """The labels of every series."""
    found: dict[str, set[str]] = {name: set() for name in exposed_names()}
    for metric in METRICS:
        for name in found:
            if name == metric.name or (metric.kind == "histogram" and name.startswith(metric.name + "_")):
                found[name] = {*metric.labels, "le"} if name.endswith("_bucket") else set(metric.labels)
    return {**found, "up": set()}


@pytest.mark.parametrize("query", queries())
def test_every_query_asks_for_what_there_is(query: str) -> None:
    known = declared()
    asked = selectors(read(query))
    names = set(re.findall(r"\b(?:antiphon|process)_\w+", query)) | ({"up"} if re.match(r"up\b", query) else set())
    assert {one.name for one in asked} == names, "a selector was not looked at"
    for one in asked:
        assert one.name in known, f"there is no metric {one.name}"
        labels = {matcher.name for matcher in one.matchers.matchers}
        assert labels <= known[one.name] | {"instance", "job"}, f"{one.name} has no such label"


def test_every_alert_says_what_is_wrong() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names) >= 10
    for rule in ALERTS:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert {"summary", "description"} == rule["annotations"].keys()
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))


def test_the_dashboard_is_whole() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    for panel in PANELS:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert all(target["datasource"]["uid"] == "prometheus" for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    shown = {name for query in queries() for name in re.findall(r"antiphon_\w+", query)}
    unseen = {metric.name for metric in METRICS} - {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert unseen <= {"antiphon_warnings_total", "antiphon_sessions_total", "antiphon_session_seconds",
                      "antiphon_config_generations", "antiphon_build_info"}  # fmt: skip
