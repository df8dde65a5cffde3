"""Where the views' windows come from: single panes, or minutes and hours of them.

A view of minutes or hours reads what is rolled up already (`rollups.py`) and adds up the rest itself, so it
is whole and up to date at any time. The two never share a window: rollups count up to the mark that `rolled`
says, panes from there on.
"""

from collections.abc import Sequence
from typing import NamedTuple

from schemas.clickhouse import PANES, PROGRESS
from schemas.table import quoted
from streams.metrics.catalogue import HITS, OF_ALL_CUT_OFFS

SEGMENTS = ("segment", "segment_value")
"""The columns that views by segment have and the others do not."""

PANE, MINUTE, HOUR = 1, 60_000, 3_600_000
"""Lengths of windows (ms). `PANE` is any pane's own."""

MINUTES, HOURS = "panes_1m", "panes_1h"
"""The rollups' tables."""
SUFFIX = {PANE: "", MINUTE: "_1m", HOUR: "_1h"}
"""Of views by the length of their windows."""

_KS = (
    f"arrayMap(name -> substring(name, {len(HITS) + 1}), "
    f"arrayFilter(name -> startsWith(name, '{HITS}'), mapKeys(sums)))"
)
_AT_KS = ", ".join(f"arrayMap(k -> concat('{name}@', k), {_KS})" for name in OF_ALL_CUT_OFFS)
_OF_KS = ", ".join(f"arrayMap(k -> sums['{name}'], {_KS})" for name in OF_ALL_CUT_OFFS)
AT_CUT_OFFS = (
    f"mapUpdate(CAST(mapFromArrays(arrayConcat({_AT_KS}), arrayConcat({_OF_KS})), "
    "'Map(LowCardinality(String), Float64)'), sums)"
)
"""The sums of a row, those of `OF_ALL_CUT_OFFS` for each cut-off too; a rollup's has them already."""

TALLIES = {
    "sums": "sumMap",
    "latency": "sumMap",
    "positive_scores": "sumMap",
    "negative_scores": "sumMap",
    "reliability": "sumForEachMap",
    "features": "sumForEachMap",
    "quality": "sumForEachMap",
}
"""What is added up in a pane, and the function that does it; `streams.metrics.tallies` is its twin in Python.
Click delays are only the judge's."""

IDENTITY = ("model", "version", "arm", "segment", "segment_value", "start", "end")

READING = "SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1"
"""Of every `FINAL`: each day is merged by itself, and of it only the rows that the sorting key does not rule
out (ClickHouse moves no other conditions before the merge)."""


class Tallied(NamedTuple):
    """A column made of a window's rows: `whole`, an aggregation of them, or `alone` where there is one row,
    that of a rollup."""

    name: str
    whole: str
    alone: str


def summed(name: str, column: str) -> Tallied:
    """The sum of numbers."""
    return Tallied(name, f"sum({column})", column)


def merged(name: str, column: str) -> Tallied:
    """Maps of `TALLIES` as one."""
    return Tallied(name, f"{TALLIES[column]}({column})", column)


class Windows(NamedTuple):
    """All series of windows of `length` ms, or of single panes where these are longer; of all requests, or of
    each one of `segments`."""

    database: str
    length: int = PANE
    segments: tuple[str, ...] = ()

    @property
    def extra(self) -> str:
        """The further columns, each after a comma."""
        return "".join(f", {name}" for name in self.segments)

    @property
    def series(self) -> str:
        """What tells series apart."""
        return f"model, version, arm{self.extra}"

    def series_of(self, *tallied: Tallied) -> str:
        """A query, in parentheses, with a row for each series of each window: `pane`, `seconds`, `series`,
        what is `tallied`, the `wait` (ms) from its end until it is final, and the partitions of
        `metrics.panes` that are its `sources`.

        `pane` is a monotonic function of the tables' `start`, so that ClickHouse prunes parts and granules by
        what a user asks of it.
        """
        open_ = self._added_up(tallied)
        if self.length == PANE:
            return f"(\n{open_}\n    )"
        return f"(\n{self._rolled_up(tallied)}\n    UNION ALL\n{open_}\n    )"

    def _rolled_up(self, tallied: Sequence[Tallied]) -> str:
        """A row of the rollup is a row of the result."""
        columns = [f"{each.alone} AS {quoted(each.name)}" for each in tallied]
        return f"""\
        SELECT
            start AS pane,
            dateDiff('millisecond', start, end) / 1000 AS seconds, {self.series},
            {"".join(f"{column}, " for column in columns)}
            dateDiff('millisecond', end, deadline) AS wait,
            [topic_partition] AS sources
        FROM {self._table(MINUTES if self.length == MINUTE else HOURS)} FINAL
        WHERE NOT retracted AND {self._of_segments} AND start < {mark(self.database, self.length)}
        {READING}"""

    def _added_up(self, tallied: Sequence[Tallied]) -> str:
        columns = [f"{each.whole} AS {quoted(each.name)}" for each in tallied]
        start = start_of(self.length)
        return f"""\
        SELECT
            {start} AS pane,
            greatest({self.length}, dateDiff('millisecond', start, end)) / 1000 AS seconds, {self.series},
            {"".join(f"{column}, " for column in columns)}
            max((part = 0, dateDiff('millisecond', end, deadline))).2 AS wait,
            groupUniqArray(topic_partition) AS sources
        FROM {self._rows()}
        WHERE NOT retracted AND {self._of_segments}{self._since}
        GROUP BY pane, seconds, {self.series}
        {READING}"""

    @property
    def _of_segments(self) -> str:
        return f"segment {'!=' if self.segments else '='} ''"

    @property
    def _since(self) -> str:
        return f" AND start >= {mark(self.database, MINUTE)}" if self.length == MINUTE else ""

    def _rows(self) -> str:
        """Where what is not rolled up yet is read from."""
        panes = f"{PANES.full_name(self.database)} FINAL"
        if self.length != HOUR:
            return panes
        columns = ", ".join([*IDENTITY, "part", "deadline", "topic_partition", "retracted", *TALLIES])
        minutes, hours = mark(self.database, MINUTE), mark(self.database, HOUR)
        return f"""\
(
            SELECT {columns} FROM {self._table(MINUTES)} FINAL
            WHERE start >= {hours} AND start < {minutes}
            UNION ALL
            SELECT {columns} FROM {panes}
            WHERE start >= {minutes}
        )"""

    def _table(self, name: str) -> str:
        return f"{quoted(self.database)}.{quoted(name)}"


def start_of(length: int) -> str:
    """The start of the window of a row, in SQL."""
    return "start" if length == PANE else f"toStartOfInterval(start, toIntervalMillisecond({length}))"


_ONLY = "mapFilter((name, number) -> position(name, '@') > 0, {})"
BY_CUT_OFF = Tallied("total", f"sumMap({_ONLY.format(AT_CUT_OFFS)})", _ONLY.format("sums"))
"""The sums of metrics with a cut-off."""


def rows_of_panes(database: str) -> str:
    """A query, in parentheses, of the panes with the sums of `OF_ALL_CUT_OFFS` by cut-off."""
    return f"""\
(
            SELECT * REPLACE({AT_CUT_OFFS} AS sums)
            FROM {PANES.full_name(database)} FINAL
        )"""


def mark(database: str, length: int) -> str:
    """Until when windows of `length` ms are rolled up, as a scalar: 1970 while a partition of `metrics.panes`
    has none yet."""
    rolled = f"{quoted(database)}.{quoted('rolled')}"
    return f"""\
(
            SELECT min(least_until) FROM
            (
                SELECT max(until) AS least_until FROM
                (
                    SELECT topic_partition, until FROM {rolled} WHERE seconds = {length // 1000}
                    UNION ALL
                    SELECT topic_partition, toDateTime64(0, 3, 'UTC') FROM {PROGRESS.full_name(database)}
                )
                GROUP BY topic_partition
            )
        )"""


def passed(database: str) -> str:
    """A map, as a scalar, from each partition of `metrics.panes` to the time that it has passed: panes in it
    with an earlier deadline are final.

    That is the earliest of its source partitions' times, once all of them have reported.
    """
    return f"""\
(
        SELECT mapFromArrays(groupArray(topic_partition), groupArray(earliest)) FROM
        (
            SELECT topic_partition, min(time) AS earliest
            FROM {PROGRESS.full_name(database)} FINAL
            GROUP BY topic_partition
            HAVING count() >= max(partitions)
        )
    )"""
