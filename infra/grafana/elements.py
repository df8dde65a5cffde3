"""What dashboards are made of: queries, panels, variables, annotations, and how they become Grafana's JSON
(dashboard schema 39, Grafana 10.4 and later).

Queries are for the official ClickHouse data source, plug-in version 4: times are filtered by its macros, so
that a panel reads what it shows and no more. What the panels say is in the modules named as the dashboards.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

Json = Mapping[str, object]

NOTHING: Json = MappingProxyType({})

DATA_SOURCE: Json = {"type": "grafana-clickhouse-datasource", "uid": "headgate-clickhouse"}
"""The data source that `provisioning/` makes, by its fixed uid."""
SCHEMA = 39
"""Of the dashboards' JSON."""
COLUMNS = 24
"""A dashboard's width."""
TITLE = 1
"""Height of a row's title."""
HIDDEN = 2
"""Of a variable: neither its name nor its values are shown."""


class Query(NamedTuple):
    """SQL with the plug-in's macros. `columns` are those that its panel needs, by name."""

    sql: str
    columns: tuple[str, ...]


class Panel(NamedTuple):
    """One panel; `width` of 24 columns, `height` in Grafana's units of 30 pixels."""

    title: str
    type: str
    query: Query
    about: str = ""
    width: int = 12
    height: int = 8
    defaults: Json = NOTHING
    overrides: Sequence[Json] = ()
    options: Json = NOTHING
    transformations: Sequence[Json] = ()


class Row(NamedTuple):
    """A titled row of panels, wrapped where it gets too wide."""

    title: str
    panels: Sequence[Panel]


class Variable(NamedTuple):
    """A drop-down: values by SQL, or listed in `values` (shown name by value); with neither, whatever is
    typed, or nothing. `several`: more than one may be chosen, and all. Without a `label` nobody sees it: it
    follows from others, and from the time range.
    """

    name: str
    label: str = ""
    sql: str = ""
    values: Mapping[str, str] = MappingProxyType({})
    several: bool = False


class Annotation(NamedTuple):
    """Marks on all time axes: the query answers `time`, `text` and `tags`."""

    name: str
    color: str
    query: Query


class Dashboard(NamedTuple):
    """One dashboard; `uid` is in its address and never changes."""

    uid: str
    title: str
    about: str
    variables: Sequence[Variable]
    rows: Sequence[Row]
    annotations: Sequence[Annotation] = ()
    since: str = "now-1h"


def to_json(dashboard: Dashboard, others: Iterable[Dashboard]) -> dict[str, object]:
    """As Grafana provisions it; `others` are linked to at the top, with time range and variables."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["headgate"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": dashboard.since, "to": "now"},
        "timezone": "browser",
        "links": [_link(other) for other in others if other.uid != dashboard.uid],
        "templating": {"list": [_variable(variable) for variable in dashboard.variables]},
        "annotations": {"list": [_annotation(annotation) for annotation in dashboard.annotations]},
        "panels": _panels(dashboard.rows),
    }


def _panels(rows: Sequence[Row]) -> list[Json]:
    panels: list[Json] = []
    top = 0
    for row in rows:
        place = {"h": TITLE, "w": COLUMNS, "x": 0, "y": top}
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        top += TITLE
        left = height = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, height = top + height, 0, 0
            place = {"h": panel.height, "w": panel.width, "x": left, "y": top}
            panels.append(_panel(panel, len(panels) + 1, place))
            left, height = left + panel.width, max(height, panel.height)
        top += height
    return panels


def _panel(panel: Panel, number: int, place: Json) -> Json:
    return {
        "id": number,
        "type": panel.type,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATA_SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": dict(panel.defaults), "overrides": list(panel.overrides)},
        "options": dict(panel.options),
        "targets": [_target(panel.query)],
        "transformations": list(panel.transformations),
    }


def _target(query: Query) -> dict[str, object]:
    series = "time" in query.columns
    return {
        "refId": "A",
        "datasource": DATA_SOURCE,
        "editorType": "sql",
        "queryType": "timeseries" if series else "table",
        "format": 0 if series else 1,
        "rawSql": query.sql,
    }


def _variable(variable: Variable) -> Json:
    common: dict[str, object] = {"name": variable.name, "label": variable.label}
    if not variable.label:
        common |= {"hide": HIDDEN, "skipUrlSync": True}
    if variable.values:
        options = [
            {"text": text, "value": value, "selected": not number}
            for number, (text, value) in enumerate(variable.values.items())
        ]
        listed = ",".join(f"{text} : {value}" for text, value in variable.values.items())
        current = {key: options[0][key] for key in ("text", "value")}
        return common | {"type": "custom", "query": listed, "options": options, "current": current}
    if not variable.sql:
        return common | {"type": "textbox", "query": "", "current": {"text": "", "value": ""}}
    several: dict[str, object] = {"multi": variable.several, "includeAll": variable.several}
    if variable.several:
        several["current"] = {"text": ["All"], "value": ["$__all"]}
    asked = {"type": "query", "datasource": DATA_SOURCE, "query": variable.sql, "definition": variable.sql}
    return common | several | asked | {"refresh": 2, "sort": 1}


def _annotation(annotation: Annotation) -> Json:
    return {
        "name": annotation.name,
        "datasource": DATA_SOURCE,
        "enable": True,
        "iconColor": annotation.color,
        "target": _target(annotation.query) | {"refId": "Anno", "queryType": "table", "format": 1},
    }


def _link(other: Dashboard) -> Json:
    return {
        "type": "link",
        "title": other.title.removeprefix("Headgate "),
        "icon": "dashboard",
        "url": f"/d/{other.uid}",
        "tooltip": "",
        "tags": [],
        "asDropdown": False,
        "targetBlank": False,
        "keepTime": True,
        "includeVars": True,
    }
