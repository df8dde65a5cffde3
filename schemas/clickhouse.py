"""The ClickHouse tables: which columns each has, which row replaces which, and how a record becomes a row.

Every table is a `ReplacingMergeTree`: a record that is written again, or late, or by a zombie, changes
nothing. Between merges the old rows are still there, so people do not read these tables but the views of
`streams/storage/views.py`. No materialized view may hang on them: it would see every replaced row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from schemas import records, topics
from schemas.records import Evidence, Finding, Outlook, Profile
from schemas.topics import Topic


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


TEXT = "String"
WORD = "LowCardinality(String)"
TIME = "DateTime64(3, 'UTC')"
NUMBER = "Float64"
INTEGER = "Int64"
COUNT = "UInt64"
WORDS = "Map(LowCardinality(String), String)"


def _column(name: str, type_: str) -> Column:
    """A required field of the record."""
    return Column(name, type_, f"record.{name}")


def _optional(name: str, type_: str) -> Column:
    """A field that is NULL where the record lacks it."""
    return Column(name, f"Nullable({type_})", f"record.{name}")


def _object(name: str) -> Column:
    """A field of any shape, as JSON text; an empty object where the record lacks it."""
    return Column(name, TEXT, f"record.{name}", _json)


def _json(value: msgspec.Raw | dict[str, object] | None) -> str:
    return msgspec.json.encode(value or {}).decode()


def _map(value: dict[str, str] | None) -> dict[str, str]:
    return value or {}


def _array(value: list[Any] | None) -> list[Any]:
    return value or []


def _words(value: list[str | int] | None) -> list[str]:
    """Ids, of which 7 equals "7"."""
    return [str(each) for each in value or ()]


def _word(value: str | int | None) -> str | None:
    return None if value is None else str(value)


def _of_distributions(field: str) -> Callable[[Profile], dict[str, object]]:
    """A field of each distribution that has it, by feature."""

    def convert(profile: Profile) -> dict[str, object]:
        found = {name: getattr(one, field) for name, one in profile.distributions().items()}
        return {name: value for name, value in found.items() if value is not None}

    return convert


def _generation(evidence: Evidence) -> int:
    return evidence.history[-1].generation if evidence.history else 0


def _of_findings(told: Callable[[Finding], object]) -> Callable[[Outlook], list[object]]:
    """What is told of each test."""
    return lambda outlook: [told(finding) for finding in outlook.context.findings]


def _field(name: str) -> Callable[[Finding], object]:
    return lambda finding: getattr(finding, name)


def _of_version(place: int, field: int) -> Callable[[Finding], object]:
    """One of `Finding.of`'s: of the judged version (0) or the reference (1)."""
    return lambda finding: finding.of(place)[field]


def _precedence(offset: int) -> int:
    return (1 << 64) - 1 - offset


TOPIC_PARTITION = Column("topic_partition", "UInt32", "topic_partition")
TOPIC_OFFSET = Column("topic_offset", "UInt64", "topic_offset")

PANES = Table(
    "panes",
    topics.PANES,
    (
        _column("model", WORD),
        _column("version", WORD),
        _column("arm", WORD),
        _column("segment", WORD),
        _column("segment_value", TEXT),
        _column("start", TIME),
        _column("end", TIME),
        _column("generation", INTEGER),
        _column("partition", COUNT),
        _column("part", INTEGER),
        _column("snapshot", COUNT),
        _column("deadline", TIME),
        _column("retracted", "Bool"),
        _column("sums", "Map(LowCardinality(String), Float64)"),
        _column("latency", "Map(Int32, UInt64)"),
        _column("click_delay", "Map(Int32, UInt64)"),
        _column("positive_scores", "Map(Int32, UInt64)"),
        _column("negative_scores", "Map(Int32, UInt64)"),
        _column("reliability", "Map(Int32, Array(Float64))"),
        _column("features", "Map(LowCardinality(String), Array(UInt64))"),
        _column("quality", "Map(LowCardinality(String), Array(UInt64))"),
        TOPIC_PARTITION,
    ),
    order_by=(
        *("model", "segment", "start"),
        *("segment_value", "version", "arm", "end", "generation", "partition", "part"),
    ),
    version="snapshot",
)
"""Snapshots of panes. The user buckets (`Pane.buckets`) stay in Kafka: only the judge needs them."""

PROFILES = Table(
    "profiles",
    topics.PROFILES,
    (
        _column("model", WORD),
        _column("version", WORD),
        _column("ts", TIME),
        Column("features", "Map(String, Array(UInt64))", "record", _of_distributions("counts")),
        Column("edges", "Map(String, Array(Float64))", "record", _of_distributions("edges")),
        Column("categories", "Map(String, Array(String))", "record", _of_distributions("categories")),
        Column("lowest", "Map(String, Float64)", "record", _of_distributions("lowest")),
        Column("highest", "Map(String, Float64)", "record", _of_distributions("highest")),
        Column("deviation", "Map(String, Float64)", "record", _of_distributions("deviation")),
        Column("precedence", "UInt64", "topic_offset", _precedence),
    ),
    order_by=("model", "version"),
    version="precedence",
)
"""Reference distributions, the score's under the name `score`; `features` are their counts. The first record
of a version holds: `precedence` falls with the offset.
"""

DRIFT = Table(
    "drift_log",
    topics.DRIFT,
    (
        _column("model", WORD),
        _column("version", WORD),
        _column("arm", WORD),
        _column("start", TIME),
        _column("end", TIME),
        _column("values", "Map(LowCardinality(String), Array(Float64))"),
        _column("changed", "Map(LowCardinality(String), Array(String))"),
        TOPIC_OFFSET,
    ),
    order_by=("model", "start", "version", "arm", "end"),
    version="topic_offset",
)
"""What the change detectors saw in each final pane."""

ALERTS = Table(
    "alerts_log",
    topics.ALERTS,
    (
        _column("alert_id", TEXT),
        _column("model", WORD),
        _column("rule", WORD),
        _column("status", WORD),
        _column("severity", WORD),
        _column("starts_at", TIME),
        _optional("ends_at", TIME),
        _optional("value", NUMBER),
        _optional("threshold", NUMBER),
        _column("labels", WORDS),
        _column("annotations", WORDS),
        TOPIC_OFFSET,
    ),
    order_by=("model", "alert_id"),
    version="topic_offset",
)
"""Alerts as they stand: firing, then resolved, replaces firing."""

RELEASES = Table(
    "releases_log",
    topics.RELEASES,
    (
        _column("model", WORD),
        _column("generation", COUNT),
        _column("ts", TIME),
        _column("stable", TEXT),
        _optional("candidate", TEXT),
        _optional("shadow", TEXT),
        _column("weight", NUMBER),
        _column("phase", WORD),
        _column("salt", TEXT),
        _column("decision_id", TEXT),
        _column("reason", TEXT),
        _object("evidence"),
        TOPIC_OFFSET,
    ),
    order_by=("model", "generation"),
    version="topic_offset",
)

ACKS = Table(
    "acks_log",
    topics.ACKS,
    (
        _column("model", WORD),
        _column("worker", WORD),
        _column("ts", TIME),
        _column("kind", WORD),
        _column("generation", COUNT),
        _optional("status", TEXT),
        Column("loaded", "Array(String)", "record.loaded", _array),
        _optional("error", TEXT),
        Column("available", "Array(String)", "record.available", _array),
        TOPIC_PARTITION,
        TOPIC_OFFSET,
    ),
    order_by=("model", "worker", "ts", "topic_partition", "topic_offset"),
)

_TOLD: Sequence[tuple[str, str, Callable[[Finding], object]]] = (
    ("tests", WORD, _field("test")),
    ("states", WORD, _field("state")),
    *((name, WORD, _field(name)) for name in ("fails", "passes")),
    *(
        (name, f"Nullable({NUMBER})", _field(name))
        for name in ("effect", "lower", "upper", "limit", "statistic", "boundary", "needed", "alpha")
    ),
    *(
        found
        for place, who in enumerate(("judged", "reference"))
        for found in (
            (who, WORD, _of_version(place, 0)),
            (f"{who}_value", f"Nullable({NUMBER})", _of_version(place, 1)),
            (f"{who}_samples", f"Nullable({NUMBER})", _of_version(place, 2)),
        )
    ),
)
"""What is kept of each test: name, type, and where it is in a finding."""

EVIDENCE = Table(
    "evidence_log",
    topics.EVIDENCE,
    (
        _column("model", WORD),
        Column("ts", TIME, "record.outlook.at"),
        Column("generation", COUNT, "record", _generation),
        Column("through", f"Nullable({TIME})", "record.outlook.context.through"),
        Column("outcome", WORD, "record.outlook.outcome"),
        Column("cause", WORD, "record.outlook.cause"),
        Column("verdict", TEXT, "record.outlook.verdict"),
        *(
            Column(name, f"Array({type_})", "record.outlook", _of_findings(told))
            for name, type_, told in _TOLD
        ),
        TOPIC_OFFSET,
    ),
    order_by=("model", "ts"),
    version="topic_offset",
)
"""How running releases stood at each look, all tests side by side."""

COMMANDS = Table(
    "commands_log",
    topics.COMMANDS,
    (
        _column("model", WORD),
        _column("ts", TIME),
        _column("command", WORD),
        _column("command_id", TEXT),
        _column("actor", TEXT),
        _optional("version", TEXT),
        _optional("mode", TEXT),
        _optional("reason", TEXT),
        _optional("generation", COUNT),
        TOPIC_OFFSET,
    ),
    order_by=("model", "ts", "command_id"),
    version="topic_offset",
)

POLICIES = Table(
    "policies_log",
    topics.POLICIES,
    (
        _column("model", WORD),
        _column("ts", TIME),
        _object("policy"),
        _column("actor", TEXT),
        TOPIC_PARTITION,
        TOPIC_OFFSET,
    ),
    order_by=("model", "topic_partition", "topic_offset"),
)

SAMPLES = Table(
    "samples_log",
    topics.SAMPLES,
    (
        _column("model", WORD),
        _column("ts", TIME),
        _column("name", WORD),
        _column("value", NUMBER),
        _optional("version", TEXT),
        _optional("phase", TEXT),
        Column("labels", WORDS, "record.labels", _map),
        TOPIC_PARTITION,
        TOPIC_OFFSET,
    ),
    order_by=("model", "name", "ts", "topic_partition", "topic_offset"),
)

SILENCES = Table(
    "silences_log",
    topics.SILENCES,
    (
        _column("model", WORD),
        _column("silence_id", TEXT),
        _column("ts", TIME),
        _column("ends_at", TIME),
        _column("actor", TEXT),
        _column("reason", TEXT),
        _optional("rule", TEXT),
        Column("labels", WORDS, "record.labels", _map),
        _optional("ended_by", TEXT),
        TOPIC_OFFSET,
    ),
    order_by=("model", "silence_id"),
    version="topic_offset",
)

DEAD_LETTERS = Table(
    "dead_letters_log",
    topics.DEAD_LETTERS,
    (
        _column("ts", TIME),
        _column("topic", WORD),
        _column("partition", COUNT),
        _column("offset", COUNT),
        _column("stage", WORD),
        _column("reason", TEXT),
        _optional("key", TEXT),
        _optional("value", TEXT),
    ),
    order_by=("stage", "topic", "partition", "offset"),
)

_PLACE = (TOPIC_PARTITION, TOPIC_OFFSET)

EXAMPLE_REQUESTS = Table(
    "example_requests_log",
    topics.REQUESTS,
    (
        _column("model", WORD),
        _column("ts", TIME),
        _column("request_id", TEXT),
        _optional("user", TEXT),
        _optional("surface", TEXT),
        Column("segments", WORDS, "record.segments", _map),
        Column("items", f"Array({TEXT})", "record.items", _words),
        _optional("k", COUNT),
        _optional("deadline_ms", NUMBER),
        _object("inputs"),
        _object("features"),
        *_PLACE,
    ),
    order_by=("model", "ts", "request_id", "topic_partition", "topic_offset"),
)
"""Sampled requests, as `streams/storage/examples.py` lets them be seen: `user` is a keyed hash. The place is
that of the first record, where one was re-published."""

EXAMPLE_PREDICTIONS = Table(
    "example_predictions_log",
    topics.PREDICTIONS,
    (
        _column("model", WORD),
        _column("ts", TIME),
        _column("request_id", TEXT),
        _column("version", WORD),
        _column("arm", WORD),
        _column("status", WORD),
        _column("latency_ms", NUMBER),
        _optional("generation", COUNT),
        Column("items", f"Array({TEXT})", "record.items", _words),
        Column("scores", f"Array({NUMBER})", "record.scores", _array),
        _optional("shown", COUNT),
        Column("propensities", f"Array({NUMBER})", "record.propensities", _array),
        _optional("infer_ms", NUMBER),
        _optional("queue_ms", NUMBER),
        _optional("batch", COUNT),
        _optional("worker", TEXT),
        _optional("user", TEXT),
        _optional("surface", TEXT),
        Column("segments", WORDS, "record.segments", _map),
        _object("features"),
        _optional("error", TEXT),
        *_PLACE,
    ),
    order_by=("model", "ts", "request_id", "topic_partition", "topic_offset"),
)
"""The predictions of sampled requests."""

EXAMPLE_FEEDBACK = Table(
    "example_feedback_log",
    topics.FEEDBACK,
    (
        _column("request_id", TEXT),
        _column("ts", TIME),
        _column("kind", WORD),
        Column("item", f"Nullable({TEXT})", "record.item", _word),
        _optional("value", NUMBER),
        _optional("event_id", TEXT),
        *_PLACE,
    ),
    order_by=("request_id", "ts", "topic_partition", "topic_offset"),
)
"""The feedback of sampled requests: whose model it is about, they say."""

PROGRESS = Table(
    "progress",
    topics.PANES,
    (
        _column("partition", COUNT),
        _column("partitions", COUNT),
        _column("time", TIME),
        _column("clock", TIME),
        _column("snapshot", COUNT),
        TOPIC_PARTITION,
    ),
    order_by=("topic_partition", "partition"),
    version="snapshot",
)
"""How far each source partition is, by partition of `metrics.panes`."""

TABLES = (
    PANES,
    PROFILES,
    DRIFT,
    ALERTS,
    RELEASES,
    ACKS,
    EVIDENCE,
    COMMANDS,
    POLICIES,
    SAMPLES,
    SILENCES,
    DEAD_LETTERS,
    EXAMPLE_REQUESTS,
    EXAMPLE_PREDICTIONS,
    EXAMPLE_FEEDBACK,
    PROGRESS,
)
"""All tables, in the order in which a block of rows is inserted: progress after the panes that it speaks
of."""

BY_RECORD: dict[type[msgspec.Struct], Table] = {
    records.Pane: PANES,
    records.Progress: PROGRESS,
    records.Profile: PROFILES,
    records.Detection: DRIFT,
    records.Alert: ALERTS,
    records.Release: RELEASES,
    records.Ack: ACKS,
    records.Evidence: EVIDENCE,
    records.CommandRecord: COMMANDS,
    records.PolicyRecord: POLICIES,
    records.Sample: SAMPLES,
    records.Silence: SILENCES,
    records.DeadLetter: DEAD_LETTERS,
    records.Request: EXAMPLE_REQUESTS,
    records.Prediction: EXAMPLE_PREDICTIONS,
    records.Feedback: EXAMPLE_FEEDBACK,
}
"""Where each type of record is kept."""
