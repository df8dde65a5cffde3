"""The few kinds of panel that the dashboards use, each looking the same everywhere."""

from collections.abc import Mapping, Sequence

from infra.grafana.elements import Json, Panel, Query

FRACTION, MILLISECONDS, RATE, NUMBER = "percentunit", "ms", "reqps", "short"

THERE = "${__data.fields.link}"
"""The address that stands in a table's column `link`."""

BOUNDS: Json = {
    "matcher": {"id": "byRegexp", "options": "/lower|upper/"},
    "properties": [
        {"id": "custom.lineWidth", "value": 0},
        {"id": "custom.fillOpacity", "value": 0},
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [2, 6]}},
        {"id": "custom.showPoints", "value": "always"},
        {"id": "custom.pointSize", "value": 2},
        {"id": "custom.hideFrom", "value": {"legend": True, "tooltip": False, "viz": False}},
    ],
}
"""Interval bounds: small marks around the line, not in the legend."""


LIMIT: Json = {
    "matcher": {"id": "byName", "options": "bound"},
    "properties": [
        {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}},
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
        {"id": "custom.lineWidth", "value": 1},
    ],
}
"""What a value is held against: a broken red line."""


def lines(
    title: str,
    query: Query,
    unit: str,
    about: str = "",
    *,
    width: int = 12,
    name: str = "",
    custom: Json | None = None,
) -> Panel:
    """Values over time; columns `lower` and `upper` are drawn as marks around them. `name` is the series'
    display name, in Grafana's words (`${__field.labels.version}`).
    """
    defaults: dict[str, object] = {
        "unit": unit,
        "custom": {"lineWidth": 2, "fillOpacity": 0, "showPoints": "auto", "spanNulls": 120_000}
        | dict(custom or {}),
    }
    if name and "lower" not in query.columns:
        defaults["displayName"] = name
    bounds = [BOUNDS] if "lower" in query.columns else []
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    options: Json = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return Panel(title, "timeseries", query, about, width, 8, defaults, bounds, options)


def against(title: str, query: Query, unit: str, about: str = "", *, width: int = 12) -> Panel:
    """A value over time with its interval, and the `bound` that it is held against."""
    panel = lines(title, query, unit, about, width=width)
    return panel._replace(overrides=[*panel.overrides, LIMIT])


def steps(title: str, query: Query, unit: str, about: str = "", *, width: int = 12) -> Panel:
    """Values that hold until the next one."""
    return lines(title, query, unit, about, width=width, custom={"lineInterpolation": "stepAfter"})


def bars(title: str, query: Query, unit: str, about: str = "", *, width: int = 12) -> Panel:
    """Counts over time, stacked."""
    custom: Json = {
        "drawStyle": "bars",
        "fillOpacity": 80,
        "lineWidth": 0,
        "stacking": {"mode": "normal", "group": "A"},
    }
    return lines(title, query, unit, about, width=width, custom=custom)


def or_else(panel: Panel, text: str) -> Panel:
    """The panel, with what it says where there is nothing to show and that is as it should be."""
    return panel._replace(defaults={**panel.defaults, "noValue": text})


def figure(
    title: str, query: Query, unit: str = "string", about: str = "", *, width: int = 4, text: bool = True
) -> Panel:
    """One value, large."""
    options: Json = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "/.*/" if text else "", "values": False},
        "colorMode": "none",
        "graphMode": "none",
        "textMode": "value",
        "justifyMode": "auto",
    }
    return Panel(title, "stat", query, about, width, 4, {"unit": unit}, (), options)


def table(
    title: str,
    query: Query,
    about: str = "",
    *,
    width: int = 24,
    height: int = 8,
    units: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
    hidden: Sequence[str] = (),
) -> Panel:
    """Rows. `units` and `links` (an address with Grafana's `${__data.fields…}`) by column; `hidden` columns
    are only there for the links.
    """
    overrides: list[Json] = [
        {"matcher": {"id": "byName", "options": column}, "properties": [{"id": "unit", "value": unit}]}
        for column, unit in (units or {}).items()
    ]
    overrides += [
        {
            "matcher": {"id": "byName", "options": column},
            "properties": [{"id": "links", "value": [{"title": "Open", "url": url}]}],
        }
        for column, url in (links or {}).items()
    ]
    overrides += [
        {
            "matcher": {"id": "byName", "options": column},
            "properties": [{"id": "custom.hidden", "value": True}],
        }
        for column in hidden
    ]
    options: Json = {"showHeader": True, "cellHeight": "sm"}
    return Panel(
        title, "table", query, about, width, height, {"custom": {"filterable": True}}, overrides, options
    )


def heat_map(title: str, query: Query, about: str = "", *, width: int = 12) -> Panel:
    """Counts by time and `bucket`: each series is a row of cells, in the order in which they come."""
    options: Json = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "steps": 64,
            "exponent": 0.5,
            "scale": "exponential",
        },
        "rowsFrame": {"layout": "auto"},
        "yAxis": {"unit": "short"},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": False},
    }
    defaults: Json = {"displayName": "${__field.labels.bucket}"}
    return Panel(title, "heatmap", query, about, width, 8, defaults, (), options)


def columns(title: str, query: Query, unit: str, about: str = "", *, axis: str, width: int = 12) -> Panel:
    """Groups of bars along the column `axis`."""
    options: Json = {
        "xField": axis,
        "orientation": "vertical",
        "stacking": "none",
        "showValue": "never",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    return Panel(title, "barchart", query, about, width, 8, {"unit": unit, "min": 0}, (), options)
