-- Sampled raw requests with their predictions and feedback, to be looked at (README.md, "Examples"). They are few, and
-- what belongs together is joined by request_id.

CREATE TABLE IF NOT EXISTS example_requests_log
(
    model LowCardinality(String),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    request_id String,
    user Nullable(String),
    surface Nullable(String),
    segments Map(LowCardinality(String), String),
    items Array(String) CODEC(ZSTD(1)),
    k Nullable(UInt64),
    deadline_ms Nullable(Float64),
    inputs String CODEC(ZSTD(3)),
    features String CODEC(ZSTD(3)),
    topic_partition UInt32,
    topic_offset UInt64,
    written DateTime DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (model, ts, request_id, topic_partition, topic_offset);

CREATE TABLE IF NOT EXISTS example_predictions_log
(
    model LowCardinality(String),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    request_id String,
    version LowCardinality(String),
    arm LowCardinality(String),
    status LowCardinality(String),
    latency_ms Float64,
    generation Nullable(UInt64),
    items Array(String) CODEC(ZSTD(1)),
    scores Array(Float64) CODEC(ZSTD(1)),
    shown Nullable(UInt64),
    propensities Array(Float64) CODEC(ZSTD(1)),
    infer_ms Nullable(Float64),
    queue_ms Nullable(Float64),
    batch Nullable(UInt64),
    worker Nullable(String),
    user Nullable(String),
    surface Nullable(String),
    segments Map(LowCardinality(String), String),
    features String CODEC(ZSTD(3)),
    error Nullable(String),
    topic_partition UInt32,
    topic_offset UInt64,
    written DateTime DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (model, ts, request_id, topic_partition, topic_offset);

CREATE TABLE IF NOT EXISTS example_feedback_log
(
    request_id String,
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kind LowCardinality(String),
    item Nullable(String),
    value Nullable(Float64),
    event_id Nullable(String),
    topic_partition UInt32,
    topic_offset UInt64,
    written DateTime DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (request_id, ts, topic_partition, topic_offset);

-- A day of them goes as a whole, and a new limit of age is noted without rewriting anything.
ALTER TABLE example_requests_log MODIFY SETTING ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1;
ALTER TABLE example_predictions_log MODIFY SETTING ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1;
ALTER TABLE example_feedback_log MODIFY SETTING ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1;
