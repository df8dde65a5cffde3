"""Pieces of the dashboards' SQL: the variables in it, and the questions that several panels ask."""

from collections.abc import Sequence

from infra.grafana.elements import Query, Variable

MODEL = "model = ${model:sqlstring}"
VERSIONS = "$__conditionalAll(version IN (${version:sqlstring}), $version)"
"""The chosen versions."""
WITHIN = "$__timeFilter_ms(pane)"
"""The time that is looked at."""

A_MODEL = Variable(
    "model",
    "Model",
    "SELECT DISTINCT model FROM series_1h WHERE predictions > 0 AND model != ''"
    " AND pane >= $__toTime - INTERVAL 7 DAY AND pane <= $__toTime ORDER BY model",
)
"""Those that had traffic in the week before the end of what is looked at."""
A_VERSION = Variable(
    "version",
    "Version",
    f"SELECT DISTINCT version FROM series_1h WHERE predictions > 0 AND {MODEL} ORDER BY version",
    several=True,
)
RESOLUTION = Variable(
    "resolution", "Resolution", values={"auto": "auto", "panes": "pane", "1 min": "1m", "1 h": "1h"}
)
"""How long the windows are that are looked at: of its own accord single panes over up to six hours, minutes
over up to a week, hours beyond."""

AROUND = 1_800
"""Seconds before and after what a link leads to."""


def address(dashboard: str, since: str, until: str) -> str:
    """SQL of the address of a model's dashboard, from before `since` until after `until` (columns of times).
    `dashboard` is SQL, too.
    """
    moments = (
        f"toString(toUnixTimestamp64Milli({since}) - {1_000 * AROUND})",
        f"toString(toUnixTimestamp64Milli({until}) + {1_000 * AROUND})",
    )
    return (
        f"concat('/d/', {dashboard}, '?var-model=', encodeURLComponent(toString(model)), "
        f"'&from=', {moments[0]}, '&to=', {moments[1]})"
    )


_SPAN = "dateDiff('second', $__fromTime, $__toTime)"
_SIX_HOURS, _A_WEEK = 6 * 3_600, 7 * 86_400


def view(name: str) -> Variable:
    """A variable with the view of that name that has windows of the resolution."""
    found = f"multiIf({_SPAN} <= {_SIX_HOURS}, '{name}', {_SPAN} <= {_A_WEEK}, '{name}_1m', '{name}_1h')"
    chosen = f"if('${{resolution}}' = 'pane', '{name}', '{name}_${{resolution}}')"
    return Variable(name, sql=f"SELECT if('${{resolution}}' = 'auto', {found}, {chosen})")


SERIES = view("series")

SERIES_OF_ALL = Variable("series", sql=f"SELECT if({_SPAN} <= {_SIX_HOURS}, 'series_1m', 'series_1h')")
"""The same where many models are looked at side by side: nobody sees single panes of fifty."""

OF_THE_MODEL = f"{WITHIN} AND {MODEL} AND {VERSIONS} AND predictions > 0 AND arm != 'shadow'"
"""The chosen model's series that have predictions."""


def metric(name: str, label: str) -> Query:
    """One metric of the chosen model over time, with its interval, a series for each `label` (a column)."""
    return Query(
        f"""\
SELECT pane AS time, {label}, {name}, {name}_lower AS lower, {name}_upper AS upper
FROM ${{series}}
WHERE {OF_THE_MODEL}
ORDER BY time""",
        ("time", label, name, "lower", "upper"),
    )


def plain(name: str, label: str) -> Query:
    """One metric of the chosen model over time, by `label`."""
    return Query(
        f"""\
SELECT pane AS time, {label}, {name}
FROM ${{series}}
WHERE {OF_THE_MODEL}
ORDER BY time""",
        ("time", label, name),
    )


def together(*names: str, at_cut_offs: str = "") -> Query:
    """Several metrics of the chosen model over time, by version; and one that has a value for each cut-off
    (`recall`).
    """
    metrics, values = listed(names), f"[{', '.join(names)}]"
    if at_cut_offs:
        column = f"`{at_cut_offs}@k`"
        metrics = (
            f"arrayConcat({metrics}, arrayMap(k -> concat('{at_cut_offs}@', toString(k)), mapKeys({column})))"
        )
        values = f"arrayConcat({values}, mapValues({column}))"
    return Query(
        f"""\
SELECT pane AS time, version, metric, value
FROM ${{series}}
ARRAY JOIN {metrics} AS metric, {values} AS value
WHERE {OF_THE_MODEL}
ORDER BY time, metric""",
        ("time", "version", "metric", "value"),
    )


def listed(names: Sequence[str]) -> str:
    """Texts as an array in SQL."""
    return f"[{', '.join(map(repr, names))}]"
