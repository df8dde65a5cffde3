"""Pieces of the dashboards' SQL: the variables in it, and the questions that several panels ask."""

from infra.grafana.elements import Query, Variable

MODEL = "model = ${model:sqlstring}"
VERSIONS = "$__conditionalAll(version IN (${version:sqlstring}), $version)"
"""The chosen versions."""
WITHIN = "$__timeFilter_ms(pane)"
"""The time that is looked at."""

A_MODEL = Variable(
    "model",
    "Model",
    "SELECT DISTINCT model FROM metrics_1h WHERE metric = 'predictions' AND model != '' ORDER BY model",
)
A_VERSION = Variable(
    "version",
    "Version",
    f"SELECT DISTINCT version FROM metrics_1h WHERE metric = 'predictions' AND {MODEL} ORDER BY version",
    several=True,
)
RESOLUTION = Variable(
    "resolution", "Resolution", values={"pane": "metrics", "1 min": "metrics_1m", "1 h": "metrics_1h"}
)
"""From which view: single panes, minutes or hours."""


def metric(name: str, label: str) -> Query:
    """One metric of the chosen model over time, with its interval, a series for each `label` (a column)."""
    return Query(
        f"""\
SELECT pane AS time, {label}, value AS `{name}`, lower, upper
FROM ${{resolution}}
WHERE {WITHIN} AND {MODEL} AND {VERSIONS} AND metric = '{name}' AND arm != 'shadow'
ORDER BY time""",
        ("time", label, name, "lower", "upper"),
    )


def plain(name: str, label: str) -> Query:
    """One metric of the chosen model over time, by `label`."""
    return Query(
        f"""\
SELECT pane AS time, {label}, value AS `{name}`
FROM ${{resolution}}
WHERE {WITHIN} AND {MODEL} AND {VERSIONS} AND metric = '{name}' AND arm != 'shadow'
ORDER BY time""",
        ("time", label, name),
    )


def several(condition: str, value: str = "value") -> Query:
    """Several metrics of the chosen model over time, by version."""
    return Query(
        f"""\
SELECT pane AS time, version, metric, value AS `{value}`
FROM ${{resolution}}
WHERE {WITHIN} AND {MODEL} AND {VERSIONS} AND {condition} AND arm != 'shadow'
ORDER BY time, metric""",
        ("time", "version", "metric", value),
    )
