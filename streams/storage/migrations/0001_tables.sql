-- The tables as they were before there were migrations: a database that has them already is taken over as it is.
-- Such a one may have monthly partitions in drift_log, acks_log and samples_log. They stay: all works as well,
-- but what is too old then goes row by row instead of a day at a time.

CREATE TABLE IF NOT EXISTS panes
(
    model LowCardinality(String),
    version LowCardinality(String),
    arm LowCardinality(String),
    segment LowCardinality(String),
    segment_value String,
    start DateTime64(3, 'UTC'),
    end DateTime64(3, 'UTC'),
    generation Int64,
    partition UInt64,
    part Int64,
    snapshot UInt64,
    deadline DateTime64(3, 'UTC'),
    retracted Bool,
    sums Map(LowCardinality(String), Float64),
    latency Map(Int32, UInt64),
    topic_partition UInt32
)
ENGINE = ReplacingMergeTree(snapshot)
PARTITION BY toYYYYMMDD(start)
PRIMARY KEY (model, segment, start)
ORDER BY (model, segment, start, segment_value, version, arm, end, generation, partition, part);

ALTER TABLE panes
    ADD COLUMN IF NOT EXISTS click_delay Map(Int32, UInt64) AFTER latency,
    ADD COLUMN IF NOT EXISTS positive_scores Map(Int32, UInt64) AFTER click_delay,
    ADD COLUMN IF NOT EXISTS negative_scores Map(Int32, UInt64) AFTER positive_scores,
    ADD COLUMN IF NOT EXISTS reliability Map(Int32, Array(Float64)) AFTER negative_scores,
    ADD COLUMN IF NOT EXISTS features Map(LowCardinality(String), Array(UInt64)) AFTER reliability,
    ADD COLUMN IF NOT EXISTS quality Map(LowCardinality(String), Array(UInt64)) AFTER features;

CREATE TABLE IF NOT EXISTS profiles
(
    model LowCardinality(String),
    version LowCardinality(String),
    ts DateTime64(3, 'UTC'),
    features Map(String, Array(UInt64)),
    edges Map(String, Array(Float64)),
    categories Map(String, Array(String)),
    lowest Map(String, Float64),
    highest Map(String, Float64),
    deviation Map(String, Float64),
    precedence UInt64
)
ENGINE = ReplacingMergeTree(precedence)
ORDER BY (model, version);

CREATE TABLE IF NOT EXISTS drift_log
(
    model LowCardinality(String),
    version LowCardinality(String),
    arm LowCardinality(String),
    start DateTime64(3, 'UTC'),
    end DateTime64(3, 'UTC'),
    values Map(LowCardinality(String), Array(Float64)),
    changed Map(LowCardinality(String), Array(String)),
    topic_offset UInt64
)
ENGINE = ReplacingMergeTree(topic_offset)
PARTITION BY toYYYYMMDD(start)
PRIMARY KEY (model, start)
ORDER BY (model, start, version, arm, end);

CREATE TABLE IF NOT EXISTS alerts_log
(
    alert_id String,
    model LowCardinality(String),
    rule LowCardinality(String),
    status LowCardinality(String),
    severity LowCardinality(String),
    starts_at DateTime64(3, 'UTC'),
    ends_at Nullable(DateTime64(3, 'UTC')),
    value Nullable(Float64),
    threshold Nullable(Float64),
    labels Map(LowCardinality(String), String),
    annotations Map(LowCardinality(String), String),
    topic_offset UInt64
)
ENGINE = ReplacingMergeTree(topic_offset)
ORDER BY (model, alert_id);

CREATE TABLE IF NOT EXISTS releases_log
(
    model LowCardinality(String),
    generation UInt64,
    ts DateTime64(3, 'UTC'),
    stable String,
    candidate Nullable(String),
    shadow Nullable(String),
    weight Float64,
    phase LowCardinality(String),
    salt String,
    decision_id String,
    reason String,
    evidence String,
    topic_offset UInt64
)
ENGINE = ReplacingMergeTree(topic_offset)
ORDER BY (model, generation);

CREATE TABLE IF NOT EXISTS acks_log
(
    model LowCardinality(String),
    worker LowCardinality(String),
    ts DateTime64(3, 'UTC'),
    kind LowCardinality(String),
    generation UInt64,
    status Nullable(String),
    loaded Array(String),
    error Nullable(String),
    topic_partition UInt32,
    topic_offset UInt64
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (model, worker, ts, topic_partition, topic_offset);

ALTER TABLE acks_log
    ADD COLUMN IF NOT EXISTS available Array(String) AFTER error;

CREATE TABLE IF NOT EXISTS commands_log
(
    model LowCardinality(String),
    ts DateTime64(3, 'UTC'),
    command LowCardinality(String),
    command_id String,
    actor String,
    version Nullable(String),
    mode Nullable(String),
    reason Nullable(String),
    topic_offset UInt64
)
ENGINE = ReplacingMergeTree(topic_offset)
ORDER BY (model, ts, command_id);

ALTER TABLE commands_log
    ADD COLUMN IF NOT EXISTS generation Nullable(UInt64) AFTER reason;

CREATE TABLE IF NOT EXISTS policies_log
(
    model LowCardinality(String),
    ts DateTime64(3, 'UTC'),
    policy String,
    actor String,
    topic_partition UInt32,
    topic_offset UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (model, topic_partition, topic_offset);

CREATE TABLE IF NOT EXISTS samples_log
(
    model LowCardinality(String),
    ts DateTime64(3, 'UTC'),
    name LowCardinality(String),
    value Float64,
    version Nullable(String),
    phase Nullable(String),
    labels Map(LowCardinality(String), String),
    topic_partition UInt32,
    topic_offset UInt64
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (model, name, ts, topic_partition, topic_offset);

CREATE TABLE IF NOT EXISTS silences_log
(
    model LowCardinality(String),
    silence_id String,
    ts DateTime64(3, 'UTC'),
    ends_at DateTime64(3, 'UTC'),
    actor String,
    reason String,
    rule Nullable(String),
    labels Map(LowCardinality(String), String),
    ended_by Nullable(String),
    topic_offset UInt64
)
ENGINE = ReplacingMergeTree(topic_offset)
ORDER BY (model, silence_id);

CREATE TABLE IF NOT EXISTS dead_letters_log
(
    ts DateTime64(3, 'UTC'),
    topic LowCardinality(String),
    partition UInt64,
    offset UInt64,
    stage LowCardinality(String),
    reason String,
    key Nullable(String),
    value Nullable(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (stage, topic, partition, offset);

CREATE TABLE IF NOT EXISTS progress
(
    partition UInt64,
    partitions UInt64,
    time DateTime64(3, 'UTC'),
    clock DateTime64(3, 'UTC'),
    snapshot UInt64,
    topic_partition UInt32
)
ENGINE = ReplacingMergeTree(snapshot)
ORDER BY (topic_partition, partition);
