"""The ClickHouse tables: which columns each has, which row replaces which, and how a record becomes a row.

Every table is a `ReplacingMergeTree`: a record that is written again, or late, or by a zombie, changes
nothing. Between merges the old rows are still there, so people do not read these tables but the views of
`streams/storage/views.py`. No materialized view may hang on them: it would see every replaced row.
"""

from collections.abc import Callable, Sequence

import msgspec

from schemas import records, topics
from schemas.records import Evidence, Finding, Outlook, Profile
from schemas.table import (
    COUNT,
    INTEGER,
    NUMBER,
    TEXT,
    TIME,
    TOPIC_OFFSET,
    TOPIC_PARTITION,
    WORD,
    Column,
    Table,
    array,
    as_json,
    item_id,
    item_ids,
    optional,
    required,
    words,
)


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


PANES = Table(
    "panes",
    topics.PANES,
    (
        required("model", WORD),
        required("version", WORD),
        required("arm", WORD),
        required("segment", WORD),
        required("segment_value", TEXT),
        required("start", TIME),
        required("end", TIME),
        required("generation", INTEGER),
        required("partition", COUNT),
        required("part", INTEGER),
        required("snapshot", COUNT),
        required("deadline", TIME),
        required("retracted", "Bool"),
        required("sums", "Map(LowCardinality(String), Float64)"),
        required("latency", "Map(Int32, UInt64)"),
        required("click_delay", "Map(Int32, UInt64)"),
        required("positive_scores", "Map(Int32, UInt64)"),
        required("negative_scores", "Map(Int32, UInt64)"),
        required("reliability", "Map(Int32, Array(Float64))"),
        required("features", "Map(LowCardinality(String), Array(UInt64))"),
        required("quality", "Map(LowCardinality(String), Array(UInt64))"),
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
        required("model", WORD),
        required("version", WORD),
        required("ts", TIME),
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
        required("model", WORD),
        required("version", WORD),
        required("arm", WORD),
        required("start", TIME),
        required("end", TIME),
        required("values", "Map(LowCardinality(String), Array(Float64))"),
        required("changed", "Map(LowCardinality(String), Array(String))"),
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
        required("alert_id", TEXT),
        required("model", WORD),
        required("rule", WORD),
        required("status", WORD),
        required("severity", WORD),
        required("starts_at", TIME),
        optional("ends_at", TIME),
        optional("value", NUMBER),
        optional("threshold", NUMBER),
        words("labels"),
        words("annotations"),
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
        required("model", WORD),
        required("generation", COUNT),
        required("ts", TIME),
        required("stable", TEXT),
        optional("candidate", TEXT),
        optional("shadow", TEXT),
        required("weight", NUMBER),
        required("phase", WORD),
        required("salt", TEXT),
        required("decision_id", TEXT),
        required("reason", TEXT),
        as_json("evidence"),
        TOPIC_OFFSET,
    ),
    order_by=("model", "generation"),
    version="topic_offset",
)

ACKS = Table(
    "acks_log",
    topics.ACKS,
    (
        required("model", WORD),
        required("worker", WORD),
        required("ts", TIME),
        required("kind", WORD),
        required("generation", COUNT),
        optional("status", TEXT),
        array("loaded", TEXT),
        optional("error", TEXT),
        array("available", TEXT),
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
        required("model", WORD),
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
        required("model", WORD),
        required("ts", TIME),
        required("command", WORD),
        required("command_id", TEXT),
        required("actor", TEXT),
        optional("version", TEXT),
        optional("mode", TEXT),
        optional("reason", TEXT),
        optional("generation", COUNT),
        TOPIC_OFFSET,
    ),
    order_by=("model", "ts", "command_id"),
    version="topic_offset",
)

POLICIES = Table(
    "policies_log",
    topics.POLICIES,
    (
        required("model", WORD),
        required("ts", TIME),
        as_json("policy"),
        required("actor", TEXT),
        TOPIC_PARTITION,
        TOPIC_OFFSET,
    ),
    order_by=("model", "topic_partition", "topic_offset"),
)

SAMPLES = Table(
    "samples_log",
    topics.SAMPLES,
    (
        required("model", WORD),
        required("ts", TIME),
        required("name", WORD),
        required("value", NUMBER),
        optional("version", TEXT),
        optional("phase", TEXT),
        words("labels"),
        TOPIC_PARTITION,
        TOPIC_OFFSET,
    ),
    order_by=("model", "name", "ts", "topic_partition", "topic_offset"),
)

SILENCES = Table(
    "silences_log",
    topics.SILENCES,
    (
        required("model", WORD),
        required("silence_id", TEXT),
        required("ts", TIME),
        required("ends_at", TIME),
        required("actor", TEXT),
        required("reason", TEXT),
        optional("rule", TEXT),
        words("labels"),
        optional("ended_by", TEXT),
        TOPIC_OFFSET,
    ),
    order_by=("model", "silence_id"),
    version="topic_offset",
)

DEAD_LETTERS = Table(
    "dead_letters_log",
    topics.DEAD_LETTERS,
    (
        required("ts", TIME),
        required("topic", WORD),
        required("partition", COUNT),
        required("offset", COUNT),
        required("stage", WORD),
        required("reason", TEXT),
        optional("key", TEXT),
        optional("value", TEXT),
    ),
    order_by=("stage", "topic", "partition", "offset"),
)

EXAMPLE_REQUESTS = Table(
    "example_requests_log",
    topics.REQUESTS,
    (
        required("model", WORD),
        required("ts", TIME),
        required("request_id", TEXT),
        optional("user", TEXT),
        optional("surface", TEXT),
        words("segments"),
        item_ids("items"),
        optional("k", COUNT),
        optional("deadline_ms", NUMBER),
        as_json("inputs"),
        as_json("features"),
        TOPIC_PARTITION,
        TOPIC_OFFSET,
    ),
    order_by=("model", "ts", "request_id", "topic_partition", "topic_offset"),
)
"""Sampled requests, as `streams/storage/examples.py` lets them be seen: `user` is a keyed hash. The place is
that of the first record, where one was re-published."""

EXAMPLE_PREDICTIONS = Table(
    "example_predictions_log",
    topics.PREDICTIONS,
    (
        required("model", WORD),
        required("ts", TIME),
        required("request_id", TEXT),
        required("version", WORD),
        required("arm", WORD),
        required("status", WORD),
        required("latency_ms", NUMBER),
        optional("generation", COUNT),
        item_ids("items"),
        array("scores", NUMBER),
        optional("shown", COUNT),
        array("propensities", NUMBER),
        optional("infer_ms", NUMBER),
        optional("queue_ms", NUMBER),
        optional("batch", COUNT),
        optional("worker", TEXT),
        optional("user", TEXT),
        optional("surface", TEXT),
        words("segments"),
        as_json("features"),
        optional("error", TEXT),
        TOPIC_PARTITION,
        TOPIC_OFFSET,
    ),
    order_by=("model", "ts", "request_id", "topic_partition", "topic_offset"),
)
"""The predictions of sampled requests."""

EXAMPLE_FEEDBACK = Table(
    "example_feedback_log",
    topics.FEEDBACK,
    (
        required("request_id", TEXT),
        required("ts", TIME),
        required("kind", WORD),
        item_id("item"),
        optional("value", NUMBER),
        optional("event_id", TEXT),
        TOPIC_PARTITION,
        TOPIC_OFFSET,
    ),
    order_by=("request_id", "ts", "topic_partition", "topic_offset"),
)
"""The feedback of sampled requests: whose model it is about, they say."""

PROGRESS = Table(
    "progress",
    topics.PANES,
    (
        required("partition", COUNT),
        required("partitions", COUNT),
        required("time", TIME),
        required("clock", TIME),
        required("snapshot", COUNT),
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
