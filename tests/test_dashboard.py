"""The Grafana dashboard of the docs asks for nothing that the listener doesn't expose."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families as parsed

from pybreaker_ext import CircuitBreaker
from pybreaker_ext.listeners import PrometheusListener

FILE = Path(__file__).parent.parent / "docs" / "how-to" / "grafana-dashboard.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]

STRING = r'"(?:[^"\\]|\\.)*"'
MATCHER = re.compile(rf"(\w+)\s*(=~|!~|!=|=)\s*({STRING})")
SELECTOR = re.compile(rf"([a-zA-Z_:][\w:]*)?\s*\{{((?:{STRING}|[^\"}}])*)\}}")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
RANGE = re.compile(r"\[[^\]]*\]")
#: A name that no bracket follows is no function's.
NAME = re.compile(r"(?<![\w:$.])[a-zA-Z_:][\w:]*\b(?!\s*\()")
KEYWORDS = {"and", "or", "unless", "bool", "offset"}


class Query(NamedTuple):
    """What a query asks for."""

    metrics: set[str]
    #: Label, operator, text.
    matchers: list[tuple[str, str, str]]
    groups: set[str]


def query_of(text: str) -> Query:
    matchers = [
        (label, operator, value[1:-1])
        for selector in SELECTOR.finditer(text)
        for label, operator, value in MATCHER.findall(selector[2])
    ]
    text = SELECTOR.sub(lambda selector: selector[1] or "", text)
    groups = {label.strip() for group in GROUPING.finditer(text) for label in group[1].split(",")}
    text = RANGE.sub("", GROUPING.sub("", text))
    return Query({*NAME.findall(text)} - KEYWORDS, matchers, groups)


class Known(NamedTuple):
    #: Each sample's labels.
    labels: dict[str, set[str]]
    #: Each label's values.
    values: dict[str, set[str]]


@pytest.fixture(scope="module")
def known() -> Known:
    registry = CollectorRegistry()
    breaker = CircuitBreaker(name="claude", ignore=[KeyError], listeners=[PrometheusListener(registry)])
    for error in (None, KeyError, OSError):
        with contextlib.suppress(KeyError, OSError), breaker.calling():
            if error:
                raise error
    found = Known({}, {})
    for family in parsed(prometheus_client.generate_latest(registry).decode()):
        for sample in family.samples:
            found.labels.setdefault(sample.name, set()).update(sample.labels)
            for label, value in sample.labels.items():
                found.values.setdefault(label, set()).add(value)
    return found


def unknown(text: str, known: Known) -> list[str]:
    """Return what a query asks for in vain."""
    query = query_of(text)
    labels = {label for metric in query.metrics for label in known.labels.get(metric, ())}
    asked = query.groups | {label for label, _, _ in query.matchers}
    values = [
        value
        for label, operator, text in query.matchers
        if text != "$name"
        for value in (text.split("|") if "~" in operator else [text])
        if value not in known.values.get(label, ())
    ]
    return sorted({*(query.metrics - {*known.labels}), *(asked - labels), *values})


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{title}-{target['refId']}" for title, target in TARGETS])
def test_every_query_names_what_exists(title: str, target: dict[str, Any], known: Known) -> None:
    query = query_of(target["expr"])

    assert query.metrics
    assert unknown(target["expr"], known) == []
    assert ("name", "=~", "$name") in query.matchers
    assert {*re.findall(r"{{(\w+)}}", target["legendFormat"])} == query.groups - {"le"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("circuit_breaker_calls", ["circuit_breaker_calls"]),
        ("rate(circuit_breaker_calls_seconds_count[5m])", ["circuit_breaker_calls_seconds_count"]),
        ("1 * sum by (instance) (circuit_breaker_state) or up", ["instance", "up"]),
        ('circuit_breaker_state{kind="a}b", state="ajar"}', ["ajar", "a}b", "kind"]),
        ('sum(circuit_breaker_calls_total{outcome=~"success|ignored"})', ["ignored"]),
        ('2 * circuit_breaker_state{state="open"} > bool 0', []),
    ],
)
def test_a_wrong_query_is_noticed(text: str, wrong: list[str], known: Known) -> None:
    assert wrong == unknown(text, known)


def test_every_metric_is_shown(known: Known) -> None:
    shown = {metric for _, target in TARGETS for metric in query_of(target["expr"]).metrics}
    exposed = {metric for metric in known.labels if not metric.endswith(("_created", "_count", "_sum"))}

    assert shown == exposed


def test_the_variables() -> None:
    source, name = DASHBOARD["templating"]["list"]
    used = {*re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))}

    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert name["query"]["query"] == "label_values(circuit_breaker_state, name)"
    assert (name["multi"], name["includeAll"]) == (True, True)
    assert used == {source["name"], name["name"], "__rate_interval", "__all"}


def test_the_data_source_is_a_variable_everywhere() -> None:
    places = [*PANELS, *(target for _, target in TARGETS), DASHBOARD["templating"]["list"][1]]

    assert {(place["datasource"]["type"], place["datasource"]["uid"]) for place in places} == {
        ("prometheus", "${datasource}")
    }


def test_panels_have_room() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        place = panel["gridPos"]
        across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        return {*itertools.product(across, down)}

    assert all(0 <= x < 24 for panel in PANELS for x, _ in cells(panel))
    assert all(not cells(one) & cells(other) for one, other in itertools.combinations(PANELS, 2))
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_grafana_may_import_it() -> None:
    """39 is Grafana 10.3's; newer ones bring it up to date themselves. A fixed id would hit another dashboard."""
    assert DASHBOARD["schemaVersion"] == 39
    assert "id" not in DASHBOARD
    assert {"state-timeline", "timeseries"} == {panel["type"] for panel in PANELS}
    for panel in PANELS:
        references = [target["refId"] for target in panel["targets"]]
        assert references == sorted(set(references))
