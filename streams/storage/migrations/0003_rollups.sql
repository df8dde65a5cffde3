-- Panes by the minute and by the hour (rollups.py). A row is like a long pane: generations, source partitions and
-- parts are added up. `snapshots`, the sum of the snapshots that it was made from, grows with each of them: what
-- was made from more, or from newer ones, holds, whoever made it and when.

CREATE TABLE IF NOT EXISTS panes_1m
(
    model LowCardinality(String),
    version LowCardinality(String),
    arm LowCardinality(String),
    segment LowCardinality(String),
    segment_value String,
    start DateTime64(3, 'UTC'),
    end DateTime64(3, 'UTC'),
    topic_partition UInt32,
    snapshots UInt128,
    part Int64,
    deadline DateTime64(3, 'UTC'),
    retracted Bool,
    sums Map(LowCardinality(String), Float64),
    latency Map(Int32, UInt64),
    positive_scores Map(Int32, UInt64),
    negative_scores Map(Int32, UInt64),
    reliability Map(Int32, Array(Float64)),
    features Map(LowCardinality(String), Array(UInt64)),
    quality Map(LowCardinality(String), Array(UInt64)),
    written DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(snapshots)
PARTITION BY toYYYYMMDD(start)
PRIMARY KEY (model, segment, start)
ORDER BY (model, segment, start, segment_value, version, arm, end);

CREATE TABLE IF NOT EXISTS panes_1h
(
    model LowCardinality(String),
    version LowCardinality(String),
    arm LowCardinality(String),
    segment LowCardinality(String),
    segment_value String,
    start DateTime64(3, 'UTC'),
    end DateTime64(3, 'UTC'),
    topic_partition UInt32,
    snapshots UInt128,
    part Int64,
    deadline DateTime64(3, 'UTC'),
    retracted Bool,
    sums Map(LowCardinality(String), Float64),
    latency Map(Int32, UInt64),
    positive_scores Map(Int32, UInt64),
    negative_scores Map(Int32, UInt64),
    reliability Map(Int32, Array(Float64)),
    features Map(LowCardinality(String), Array(UInt64)),
    quality Map(LowCardinality(String), Array(UInt64)),
    written DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(snapshots)
PARTITION BY toYYYYMM(start)
PRIMARY KEY (model, segment, start)
ORDER BY (model, segment, start, segment_value, version, arm, end);

ALTER TABLE panes_1m MODIFY SETTING ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1;
ALTER TABLE panes_1h MODIFY SETTING ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1;

-- How far each rollup is, by partition of metrics.panes: all windows of so many `seconds` that start before
-- `until` are in it.
CREATE TABLE IF NOT EXISTS rolled
(
    seconds UInt32,
    topic_partition UInt32,
    until DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(until)
ORDER BY (seconds, topic_partition);
