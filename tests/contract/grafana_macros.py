"""What Grafana and the official ClickHouse data source make of a panel's SQL before ClickHouse sees it:
variables, `$__conditionalAll` (both in the browser) and the plug-in's macros, as its version 4 expands them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from infra.grafana.elements import Dashboard

ALL = "$__all"
"""The value of a variable of which all is chosen."""
_CONDITIONAL = "$__conditionalAll("
_LEFT = re.compile(r"\$__\w+|\$\{\w+(:\w+)?\}")


class View(NamedTuple):
    """What a dashboard is looked at with: the time range (ms), the interval that Grafana works out for a
    panel's width (ms), and the variables' values.
    """

    start: int
    end: int
    interval: int
    variables: Mapping[str, str | Sequence[str]]


def expand(sql: str, view: View) -> str:
    """The SQL as ClickHouse gets it. Fails where something is left that nobody expands."""
    sql = _conditions(sql, view)
    sql = re.sub(r"\$\{(\w+)(?::(\w+))?\}", lambda m: _variable(view, m[1], m[2]), sql)
    seconds = max(view.interval // 1000, 1)
    moment = "fromUnixTimestamp64Milli({})"
    for macro, text in (
        (
            r"\$__timeFilter_ms\((.*?)\)",
            rf"\1 >= {moment.format(view.start)} AND \1 <= {moment.format(view.end)}",
        ),
        (
            r"\$__timeFilter\((.*?)\)",
            rf"\1 >= toDateTime({view.start // 1000}) AND \1 <= toDateTime({view.end // 1000})",
        ),
        (r"\$__timeInterval\((.*?)\)", rf"toStartOfInterval(toDateTime(\1), INTERVAL {seconds} second)"),
        (r"\$__interval_s\b", str(seconds)),
        (r"\$__fromTime\b", f"toDateTime({view.start // 1000})"),
        (r"\$__toTime\b", f"toDateTime({view.end // 1000})"),
    ):
        sql = re.sub(macro, text, sql)
    assert not _LEFT.search(sql), sql
    return sql


def settled(dashboard: Dashboard, view: View, ask: Callable[[str], str]) -> View:
    """The view with the values of the dashboard's variables that nobody chooses, as Grafana finds them at
    each change of the time range; `ask` answers the one value of a query."""
    found = {
        variable.name: ask(expand(variable.sql, view))
        for variable in dashboard.variables
        if not variable.label
    }
    return view._replace(variables={**view.variables, **found})


def _conditions(sql: str, view: View) -> str:
    while (start := sql.rfind(_CONDITIONAL)) >= 0:
        depth, at = 1, start + len(_CONDITIONAL)
        while depth:
            depth += {"(": 1, ")": -1}.get(sql[at], 0)
            at += 1
        condition, _, variable = sql[start + len(_CONDITIONAL) : at - 1].rpartition(",")
        assert "," not in condition, "the plug-in takes two arguments, told apart by a comma"
        chosen = view.variables[variable.strip().removeprefix("$")]
        sql = sql[:start] + ("1=1" if chosen == ALL else condition) + sql[at:]
    return sql


def _variable(view: View, name: str, form: str | None) -> str:
    value = view.variables[name]
    values = [value] if isinstance(value, str) else list(value)
    if form == "sqlstring":
        return ",".join("'" + one.replace("'", "''") + "'" for one in values)
    assert form is None
    return ",".join(values)
