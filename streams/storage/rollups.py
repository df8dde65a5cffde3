"""Keeps the rollups (`panes_1m`, `panes_1h`): adds up final panes to minutes, and minutes to hours.

Whoever inserts panes does it, not a materialized view: that would see each row that is inserted, also those
that others replace. Two rules make it right whatever fails:

1. *Advance*: windows that are final, and no others, are added up, then the mark in `rolled` is moved past
   them. Views take windows below the mark from the rollup, so the order matters.
2. *Repair*: who inserts a pane below the mark adds up its windows again before the insert counts as done.

To add up again gives the same rows. Their version is the sum of the snapshots that they were made from: the
state of a table of panes only grows, so one that saw more of it holds, also against a zombie that comes late,
and after panes have been removed for their age.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from schemas.clickhouse import PANES
from schemas.policies import Policy
from schemas.records import Pane
from schemas.table import Stored
from streams.storage.layout import Layout, text
from streams.storage.windows import (
    HOUR,
    HOURS,
    IDENTITY,
    MINUTE,
    MINUTES,
    TALLIES,
    passed,
    rows_of_panes,
    start_of,
)

WINDOWS_AT_ONCE = 1_000
"""Of models, in one statement of a repair."""

_POLICY = Policy("")
WAIT = int(_POLICY.attribution.window + _POLICY.attribution.lateness)
"""How long (ms) after its end a pane is final, as long as none has said so."""


class Rollup(NamedTuple):
    """One table. `chunk`: ms of panes that are added up in one statement."""

    table: str
    length: int
    chunk: int
    version: str

    def source(self, layout: Layout) -> str:
        """What it is made of, in SQL."""
        return rows_of_panes(layout.database) if self.table == MINUTES else f"{layout.table(MINUTES)} FINAL"


ROLLUPS = (
    Rollup(MINUTES, MINUTE, HOUR, "sum(toUInt128(snapshot))"),
    Rollup(HOURS, HOUR, 24 * HOUR, "sum(snapshots)"),
)
"""Each after what it is made of."""


class Rollups:
    """The rollups of the partitions of `metrics.panes` that somebody inserts panes of. Not for two threads at
    a time, but for `forget`."""

    def __init__(self, layout: Layout, settings: Mapping[str, str | int]) -> None:
        """`settings`: of every insert."""
        self._layout = layout
        self._settings = {**settings, **layout.settings}
        self._marks: dict[int, dict[int, int]] = {}
        self._waits: dict[int, int] = {}

    def forget(self, partitions: Collection[int]) -> None:
        """Somebody else may have moved their marks meanwhile."""
        for partition in partitions:
            self._marks.pop(partition, None)

    def repair(self, client: Client, panes: Sequence[Stored]) -> None:
        """Adds up again what `panes`, which have been inserted, belong to, as far as that was added up."""
        marks = {number: self._marks_of(client, number) for number in {row.topic_partition for row in panes}}
        changed: dict[int, set[tuple[str, int]]] = {rollup.length: set() for rollup in ROLLUPS}
        for row in panes:
            pane = row.record
            assert isinstance(pane, Pane)
            if not pane.part:
                wait = pane.deadline - pane.end
                self._waits[row.topic_partition] = max(self._waits.get(row.topic_partition, 0), wait)
            for length, mark in marks[row.topic_partition].items():
                if pane.start < mark:
                    changed[length].add((pane.model, pane.start // length * length))
        for rollup in ROLLUPS:
            for several in _batches(changed[rollup.length], rollup.chunk):
                self._add_up(client, rollup, *_these(rollup, several))

    def advance(self, client: Client, partitions: Collection[int], seconds: float) -> bool:
        """Adds up what has become final in `partitions`, for about so many seconds; answers whether there is
        no more to do."""
        until = time.monotonic() + seconds
        finished = True
        reached = self._passed(client)
        for number in partitions:
            if number in reached:
                finished &= self._advance(client, number, reached[number], until)
        return finished

    def _advance(self, client: Client, number: int, reached: int, until: float) -> bool:
        marks = self._marks_of(client, number)
        limit = reached - self._waits.get(number, WAIT) - 1
        finished = True
        for rollup in ROLLUPS:
            limit = limit // rollup.length * rollup.length
            mark = marks[rollup.length]
            while mark < limit and time.monotonic() < until:
                mark = self._roll(client, rollup, number, mark, limit)
            if mark > marks[rollup.length]:
                self._move(client, rollup, number, mark)
                marks[rollup.length] = mark
            finished &= mark >= limit
            limit = mark
        return finished

    def _roll(self, client: Client, rollup: Rollup, number: int, mark: int, limit: int) -> int:
        """Adds up the next chunk after `mark`; answers how far that is."""
        table = PANES.name if rollup.table == MINUTES else MINUTES
        [[count, first]] = client.query(
            f"SELECT count(), toUnixTimestamp64Milli(min(start)) FROM {self._layout.table(table)}"
            f" WHERE topic_partition = {number} AND {_between(mark, limit)}"
        ).result_rows
        if not count:
            return limit
        first = max(mark, int(first) // rollup.length * rollup.length)
        last = min(limit, first + rollup.chunk)
        self._add_up(client, rollup, f"topic_partition = {number} AND {_between(first, last)}", "1")
        return last

    def _add_up(self, client: Client, rollup: Rollup, where: str, having: str) -> None:
        """Inserts the windows of the rows of `where`; `having` is about them."""
        wait = "dateDiff('millisecond', end, deadline)"
        tallies = ", ".join(f"{total}If({name}, NOT retracted)" for name, total in TALLIES.items())
        columns = ["topic_partition", "snapshots", "part", "deadline", "retracted", *TALLIES]
        client.command(
            f"INSERT INTO {self._layout.table(rollup.table)} ({', '.join([*IDENTITY, *columns])})\n"
            "SELECT model, version, arm, segment, segment_value, window_start, window_end,\n"
            f"    any(topic_partition), {rollup.version}, min(part != 0),\n"
            f"    window_end + toIntervalMillisecond(max((part = 0, {wait})).2),\n"
            f"    min(retracted), {tallies}\n"
            f"FROM {rollup.source(self._layout)}\n"
            f"WHERE {where}\n"
            "GROUP BY model, version, arm, segment, segment_value,\n"
            f"    {start_of(rollup.length)} AS window_start,\n"
            f"    window_start + toIntervalMillisecond(greatest({rollup.length}, "
            "dateDiff('millisecond', start, end))) AS window_end\n"
            f"HAVING {having}",
            settings={**self._settings, "do_not_merge_across_partitions_select_final": 1},
        )

    def _marks_of(self, client: Client, number: int) -> dict[int, int]:
        """Until when (ms) windows of each length are rolled up, as `rolled` said when it was first asked."""
        if (known := self._marks.get(number)) is not None:
            return known
        rows = client.query(
            "SELECT seconds, toUnixTimestamp64Milli(max(until))"
            f" FROM {self._layout.table('rolled')} WHERE topic_partition = {number} GROUP BY seconds"
        ).result_rows
        marks = {rollup.length: 0 for rollup in ROLLUPS}
        marks |= {int(seconds) * 1000: int(until) for seconds, until in rows}
        self._marks[number] = marks
        return marks

    def _move(self, client: Client, rollup: Rollup, number: int, mark: int) -> None:
        client.command(
            f"INSERT INTO {self._layout.table('rolled')}"
            f" SELECT {rollup.length // 1000}, {number}, {_time(mark)}",
            settings=self._settings,
        )

    def _passed(self, client: Client) -> dict[int, int]:
        query = f"SELECT mapApply((k, v) -> (k, toUnixTimestamp64Milli(v)), {passed(self._layout.database)})"
        [[found]] = client.query(query).result_rows
        return {int(number): int(time) for number, time in found.items()}


def _these(rollup: Rollup, windows: Sequence[tuple[str, int]]) -> tuple[str, str]:
    """Conditions on rows and on windows of models and starts."""
    first = min(start for _, start in windows)
    last = max(start for _, start in windows) + rollup.length
    models = ", ".join(sorted({text(model) for model, _ in windows}))
    pairs = ", ".join(f"({text(model)}, {start})" for model, start in windows)
    return (
        f"model IN ({models}) AND {_between(first, last)}",
        f"(model, toUnixTimestamp64Milli(window_start)) IN ({pairs})",
    )


def _batches(windows: Collection[tuple[str, int]], span: int) -> Iterator[Sequence[tuple[str, int]]]:
    """Models and starts, those together that are not more than `span` ms apart."""
    batch: list[tuple[str, int]] = []
    for model, start in sorted(windows, key=itemgetter(1)):
        if batch and (start - batch[0][1] >= span or len(batch) == WINDOWS_AT_ONCE):
            yield batch
            batch = []
        batch.append((model, start))
    if batch:
        yield batch


def _between(first: int, last: int) -> str:
    return f"start >= {_time(first)} AND start < {_time(last)}"


def _time(milliseconds: int) -> str:
    return f"fromUnixTimestamp64Milli(toInt64({milliseconds}), 'UTC')"
