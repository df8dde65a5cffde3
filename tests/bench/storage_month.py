"""Fills a database with days of `storage_world.py`: one day is made, minutes and hours of it are added up by
what does so in the sink, and other days are copies of it, at their own time. The last one comes hour by hour,
so that it lies there as what has just been written does: in many parts, some rows in two snapshots.

What is filled is kept, and filling goes on where it stopped.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from clickhouse_connect.driver.client import Client

from schemas import policies
from schemas.clickhouse import ACKS, BY_RECORD, DRIFT, PANES, SAMPLES
from schemas.policies import Policy
from schemas.records import ENCODER, CommandRecord, Distribution, PolicyRecord, Profile, Progress
from schemas.settings import ClickHouse
from schemas.table import Stored, Table
from streams.storage.layout import Layout
from streams.storage.rollups import Rollups
from streams.storage.windows import HOURS, MINUTES
from streams.storage.writer import SETTINGS, Writer
from tests.bench import storage_world as world
from tests.bench.storage_world import ARMS, BINS, DAY, FEATURES, HOUR, MINUTE, MODELS, Insert

END = 1_764_547_200_000
"""2025-12-01 00:00 UTC: when all of it is over."""
FRESH = HOUR
"""So much of the end has been written twice, and not merged yet."""
PATIENCE = 3_600
"""Seconds that one statement may take."""
AT_ONCE = 2
"""Days that are copied side by side."""

MAKING = {"max_block_size": 8_192, "max_insert_threads": 2, "min_insert_block_size_bytes": 512 << 20}
"""Settings of inserts: rows are made in small blocks, and written in large ones."""
COPYING = {"max_threads": 1, "max_insert_threads": 1, "min_insert_block_size_bytes": 1 << 30}
"""What is read in the order of the key is written so: a day's parts share no keys, as after merges."""

TIMES = {
    PANES.name: ("start", "end", "deadline"),
    MINUTES: ("start", "end", "deadline"),
    HOURS: ("start", "end", "deadline"),
    DRIFT.name: ("start", "end"),
    ACKS.name: ("ts",),
    SAMPLES.name: ("ts",),
}
"""The tables that are copied day by day, and their columns of times; rows are of the day of the first."""

Made = Callable[[int, int], Insert]


class Month:
    """A database that holds, or will hold, so many days."""

    def __init__(self, client: Client, settings: ClickHouse, days: int) -> None:
        self.days = days
        self.first = END - days * DAY
        self._client = client
        self._settings = settings
        self._layout = Layout(settings.database)

    def fill(self, say: Callable[[str], None]) -> None:
        """Makes what lacks."""
        if not self._holds(self.first):
            self._record()
            self._first_day(say)
        self._command("SYSTEM STOP MERGES")  # they would take the processor from what is measured
        began = time.monotonic()
        last = END - DAY
        copies = [day for day in range(self.first + DAY, last, DAY) if not self._holds(day)]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for _ in threads.map(self._copy, copies):
                pass
        if copies:
            self._settle()
        say(f"{len(copies)} days copied in {time.monotonic() - began:.0f} s")
        if not self._holds(last):
            began = time.monotonic()
            self._last_day(last)
            say(f"the last day: {time.monotonic() - began:.0f} s")

    def _holds(self, day: int) -> bool:
        """Whether a day is whole: the rollup of its hours is the last that is written."""
        where = f"start >= {_time(day)} AND start < {_time(day + DAY)}"
        return bool(
            int(str(self._client.command(f"SELECT count() >= {20 * MODELS} FROM {HOURS} WHERE {where}")))
        )

    def _record(self) -> None:
        """What there is once: policies, profiles, commands, and rows of the whole time."""
        stored: dict[Table, list[Stored]] = {}
        for offset, record in enumerate(_records(self.first)):
            stored.setdefault(BY_RECORD[type(record)], []).append(Stored(record, 0, offset))
        writer = Writer(self._settings)
        writer.write(stored)
        writer.close()
        for make in (world.decisions, world.alerts, world.letters):
            self._insert(make(self.first, END))
        self._insert(world.looks(END - DAY, END))

    def _first_day(self, say: Callable[[str], None]) -> None:
        began = time.monotonic()
        rows = self._make(self.first, self.first + DAY)
        made = time.monotonic() - began
        self._roll_up(self.first + DAY)
        rolled = time.monotonic() - began - made
        for table in TIMES:
            self._command(f"OPTIMIZE TABLE {table} FINAL")
        say(f"{rows:,} panes of the first day made in {made:.0f} s, added up in {rolled:.0f} s")

    def _make(self, first: int, last: int) -> int:
        """Answers how many panes it has made."""
        for make in (world.detections, world.heartbeats, world.samples):
            self._insert(make(first, last))
        found = [world.panes(first, last), world.segments(first, last)]
        for insert in found:
            self._insert(insert)
        return sum(insert.rows for insert in found)

    def _copy(self, day: int) -> None:
        for table in TIMES:
            self._again(table, self.first, self.first + DAY, day - self.first)

    def _last_day(self, day: int) -> None:
        """Leaves the rollups to whoever inserts panes, as the sink does."""
        self._mark(day)
        for hour in range(day, day + DAY, HOUR):
            source = hour - day + self.first
            for table in (PANES.name, DRIFT.name, ACKS.name, SAMPLES.name):
                self._again(table, source, source + HOUR, day - self.first)
        for moment in range(END - FRESH, END, 5 * MINUTE):
            self._insert(world.panes(moment, moment + 5 * MINUTE, snapshot=2))
        self._roll_up(END)

    def _settle(self) -> None:
        """Leaves the hours of days that are over in one part, as merges do, for they are few."""
        self._command(f"SYSTEM START MERGES {HOURS}")
        self._command(f"OPTIMIZE TABLE {HOURS} FINAL")
        self._command(f"SYSTEM STOP MERGES {HOURS}")

    def _again(self, table: str, first: int, last: int, later: int) -> None:
        """Rows of `table` from `first` until `last` once more, `later`."""
        names = TIMES[table]
        shifted = ", ".join(f"{name} + toIntervalMillisecond({later}) AS {name}" for name in names)
        kept = f"old.{names[0]} >= {_time(first)} AND old.{names[0]} < {_time(last)}"
        query = f"SELECT * REPLACE({shifted}) FROM {table} AS old WHERE {kept}"
        self._client.command(f"INSERT INTO {table}\n{query}", settings=COPYING)

    def _roll_up(self, until: int) -> None:
        stored = {BY_RECORD[Progress]: [Stored(_progress(until), 0, 0)]}
        writer = Writer(self._settings)
        writer.write(stored)
        writer.close()
        Rollups(self._layout, SETTINGS).advance(self._client, [0], PATIENCE)

    def _mark(self, until: int) -> None:
        for length in (MINUTE, HOUR):
            self._command(f"INSERT INTO rolled\nSELECT {length // 1000}, 0, {_time(until)}")

    def _insert(self, insert: Insert) -> None:
        self._command(insert.sql(self._settings.database))

    def _command(self, statement: str) -> None:
        self._client.command(statement, settings=MAKING)


def _records(first: int) -> Sequence[msgspec.Struct]:
    found: list[msgspec.Struct] = []
    numbers = Distribution(
        counts=[100] * BINS,
        edges=[float(edge) for edge in range(1, BINS)],
        lowest=0.0,
        highest=float(BINS),
        deviation=3.0,
    )
    for rank in range(1, MODELS + 1):
        model = world.name(rank)
        policy = ENCODER.encode(policies.to_object(Policy(model)))
        found.append(PolicyRecord(model=model, ts=first, policy=msgspec.Raw(policy), actor="bench"))
        found.append(
            CommandRecord(
                model=model, ts=first, command="start", command_id=model, actor="bench", version="v1"
            )
        )
        for version in range(1, len(ARMS) + 1):
            features = dict.fromkeys(FEATURES[:-1], numbers)
            found.append(
                Profile(model=model, version=f"v{version}", ts=first, features=features, score=numbers)
            )
    return found


def _progress(time: int) -> Progress:
    return Progress(partition=0, partitions=1, time=time, clock=time, snapshot=time)


def _time(milliseconds: int) -> str:
    return f"fromUnixTimestamp64Milli(toInt64({milliseconds}), 'UTC')"
