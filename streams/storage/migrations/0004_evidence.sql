-- What each test of a running release said, look by look: tests side by side, in the order of the policy.

CREATE TABLE IF NOT EXISTS evidence_log
(
    model LowCardinality(String),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    generation UInt64,
    through Nullable(DateTime64(3, 'UTC')),
    outcome LowCardinality(String),
    cause LowCardinality(String),
    verdict String,
    tests Array(LowCardinality(String)),
    states Array(LowCardinality(String)),
    fails Array(LowCardinality(String)),
    passes Array(LowCardinality(String)),
    effect Array(Nullable(Float64)),
    lower Array(Nullable(Float64)),
    upper Array(Nullable(Float64)),
    limit Array(Nullable(Float64)),
    statistic Array(Nullable(Float64)),
    boundary Array(Nullable(Float64)),
    needed Array(Nullable(Float64)),
    alpha Array(Nullable(Float64)),
    judged Array(LowCardinality(String)),
    judged_value Array(Nullable(Float64)),
    judged_samples Array(Nullable(Float64)),
    reference Array(LowCardinality(String)),
    reference_value Array(Nullable(Float64)),
    reference_samples Array(Nullable(Float64)),
    topic_offset UInt64,
    written DateTime DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(topic_offset)
PARTITION BY toYYYYMM(ts)
ORDER BY (model, ts);
