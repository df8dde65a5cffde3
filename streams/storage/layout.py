"""Where tables lie: on one server, or on a cluster. Migrations are written for one server
(`migrations/*.sql`); for a cluster their statements are rewritten here, and nothing else knows of it.

On a cluster each of `SHARDED` is a `…_shard` on every shard, replicated there, and under its own name a
`Distributed` table over the shards, by model: rows that replace each other lie on one shard. All other tables
are small; each node has all of them, so that what is joined or looked up is at hand everywhere.

Expects the macros `{shard}` and `{replica}` of every server's configuration, and `internal_replication` of
the cluster's.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from schemas.table import quoted

SHARDED = frozenset(["panes", "panes_1m", "panes_1h", "drift_log", "acks_log", "samples_log"])
"""Tables with many rows, each with a column `model`."""

_CREATE = re.compile(
    r"CREATE TABLE IF NOT EXISTS (\w+)\s*(\(.*?\n\))\s*ENGINE = ReplacingMergeTree(?:\((\w+)\))?\s*(.*)",
    re.DOTALL,
)
_ALTER = re.compile(r"ALTER TABLE (\w+)\s+(.*)", re.DOTALL)
_COLUMNS = ("ADD COLUMN", "DROP COLUMN")
"""What a `Distributed` table has to know of, too."""

SINGLE_NODE: Mapping[str, str | int] = {}
CLUSTER: Mapping[str, str | int] = {
    # An answer means that the rows are on their shard, not in a queue of whom we asked.
    "distributed_foreground_insert": 1,
    # What was written is read back from the same replica, for a rollup must see the rows that it is made for.
    "load_balancing": "in_order",
    "prefer_localhost_replica": 0,
}


class Layout(NamedTuple):
    """A database, and the cluster that it is on; none is a single server."""

    database: str
    cluster: str = ""

    @property
    def settings(self) -> Mapping[str, str | int]:
        """What inserts and what reads what was inserted have to say beside their own settings."""
        return CLUSTER if self.cluster else SINGLE_NODE

    def table(self, name: str) -> str:
        """A table or view as everybody reads and writes it, in SQL."""
        return f"{quoted(self.database)}.{quoted(name)}"

    def stored(self, name: str) -> str:
        """The name of the table that has the rows."""
        return f"{name}_shard" if self.cluster and name in SHARDED else name

    @property
    def everywhere(self) -> str:
        """What follows the name in a statement that all servers are to run."""
        return f" ON CLUSTER {text(self.cluster)}" if self.cluster else ""

    def statements(self, statement: str) -> list[str]:
        """A migration's statement, as those that do it here.

        Raises ValueError for one that is neither `CREATE TABLE IF NOT EXISTS … ENGINE = ReplacingMergeTree…`
        nor `ALTER TABLE …`: nothing else is known to work on a cluster.
        """
        if match := _CREATE.fullmatch(statement):
            return self._create(*match.groups())
        if match := _ALTER.fullmatch(statement):
            return self._alter(*match.groups())
        raise ValueError(
            f"found {statement.splitlines()[0]!r}, expected CREATE TABLE IF NOT EXISTS name (…) ENGINE = "
            "ReplacingMergeTree…, or ALTER TABLE name …"
        )

    def _create(self, name: str, columns: str, version: str | None, rest: str) -> list[str]:
        arguments = [version] if version else []
        engine = "ReplacingMergeTree"
        if self.cluster:
            shard, replica = ("{shard}", "{replica}") if name in SHARDED else ("all", "{shard}-{replica}")
            path = f"/clickhouse/tables/{shard}/{self.database}/{name}"
            engine, arguments = f"Replicated{engine}", [text(path), text(replica), *arguments]
        head = f"CREATE TABLE IF NOT EXISTS {self.table(self.stored(name))}{self.everywhere}"
        found = [f"{head}\n{columns}\nENGINE = {engine}({', '.join(arguments)})\n{rest}"]
        if self.stored(name) != name:
            where = ", ".join(map(text, (self.cluster, self.database, self.stored(name))))
            found.append(
                f"CREATE TABLE IF NOT EXISTS {self.table(name)}{self.everywhere}\n{columns}\n"
                f"ENGINE = Distributed({where}, cityHash64(model))"
            )
        return found

    def _alter(self, name: str, what: str) -> list[str]:
        names = [self.stored(name)]
        if names[0] != name and what.startswith(_COLUMNS):
            names.append(name)
        return [f"ALTER TABLE {self.table(each)}{self.everywhere}\n{what}" for each in names]


def text(value: str) -> str:
    """Text as SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
