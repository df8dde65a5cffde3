"""What a ClickHouse table is: its columns, which row replaces which, and how a decoded record becomes a row.

Which tables there are says `clickhouse.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from schemas.topics import Topic

TEXT = "String"
WORD = "LowCardinality(String)"
TIME = "DateTime64(3, 'UTC')"
NUMBER = "Float64"
INTEGER = "Int64"
COUNT = "UInt64"


class Stored(NamedTuple):
    """A decoded record, and where it stands: `topic_partition` and `topic_offset` of its own topic."""

    record: msgspec.Struct
    topic_partition: int
    topic_offset: int


class Column(NamedTuple):
    """A column: the attribute of `Stored` that fills it, and how that becomes a value that ClickHouse's type
    takes."""

    name: str
    type: str
    source: str
    convert: Callable[[Any], object] | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """A table. Of rows that are equal in `order_by`, the one with the highest `version` holds; any, where
    they cannot differ.

    How it lies on disk is `streams/storage/migrations/`'s, and it has columns there that no record fills.
    """

    name: str
    topic: Topic
    columns: tuple[Column, ...]
    order_by: tuple[str, ...]
    version: str | None = None

    def full_name(self, database: str) -> str:
        """The table's name in SQL."""
        return f"{quoted(database)}.{quoted(self.name)}"

    def values(self, rows: Sequence[Stored]) -> list[list[object]]:
        """The rows as columns, in the order of `columns`; times are epoch milliseconds."""
        return [
            [column.convert(value) for value in values] if column.convert else list(values)
            for column in self.columns
            for values in [map(attrgetter(column.source), rows)]
        ]


def quoted(name: str) -> str:
    """An identifier as SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


TOPIC_PARTITION = Column("topic_partition", "UInt32", "topic_partition")
TOPIC_OFFSET = Column("topic_offset", "UInt64", "topic_offset")


def required(name: str, type_: str) -> Column:
    """A field that every record has, as it is."""
    return Column(name, type_, f"record.{name}")


def optional(name: str, type_: str) -> Column:
    """A field that is NULL where the record lacks it."""
    return Column(name, f"Nullable({type_})", f"record.{name}")


def as_json(name: str) -> Column:
    """An object of any shape, as JSON text; an empty one where the record lacks it."""
    return Column(name, TEXT, f"record.{name}", _json)


def words(name: str) -> Column:
    """An object of strings; an empty one where the record lacks it."""
    return Column(name, "Map(LowCardinality(String), String)", f"record.{name}", _map)


def array(name: str, type_: str) -> Column:
    """A list; an empty one where the record lacks it."""
    return Column(name, f"Array({type_})", f"record.{name}", _array)


def item_ids(name: str) -> Column:
    """A list of item ids, of which 7 equals "7"; an empty one where the record lacks it."""
    return Column(name, f"Array({TEXT})", f"record.{name}", _texts)


def item_id(name: str) -> Column:
    """An item id, of which 7 equals "7"; NULL where the record lacks it."""
    return Column(name, f"Nullable({TEXT})", f"record.{name}", _text)


def _json(value: msgspec.Raw | dict[str, object] | None) -> str:
    return msgspec.json.encode(value or {}).decode()


def _map(value: dict[str, str] | None) -> dict[str, str]:
    return value or {}


def _array(value: list[object] | None) -> list[object]:
    return value or []


def _texts(value: list[str | int] | None) -> list[str]:
    return [str(each) for each in value or ()]


def _text(value: str | int | None) -> str | None:
    return None if value is None else str(value)
