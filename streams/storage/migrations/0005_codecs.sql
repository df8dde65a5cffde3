-- Smaller on disk, as measured (README.md, "Storage"): tallies are few distinct small numbers, which ZSTD packs to
-- less than half of LZ4's; times and counters grow by steps. Rows from before get it when they are merged.

ALTER TABLE panes
    MODIFY COLUMN start CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN end CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN deadline CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN generation CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN partition CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN part CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN snapshot CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN topic_partition CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN segment_value CODEC(ZSTD(1)),
    MODIFY COLUMN sums CODEC(ZSTD(3)),
    MODIFY COLUMN latency CODEC(ZSTD(3)),
    MODIFY COLUMN click_delay CODEC(ZSTD(3)),
    MODIFY COLUMN positive_scores CODEC(ZSTD(3)),
    MODIFY COLUMN negative_scores CODEC(ZSTD(3)),
    MODIFY COLUMN reliability CODEC(ZSTD(3)),
    MODIFY COLUMN features CODEC(ZSTD(3)),
    MODIFY COLUMN quality CODEC(ZSTD(3));

ALTER TABLE panes_1m
    MODIFY COLUMN start CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN end CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN deadline CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN snapshots CODEC(ZSTD(1)),
    MODIFY COLUMN topic_partition CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN segment_value CODEC(ZSTD(1)),
    MODIFY COLUMN sums CODEC(ZSTD(3)),
    MODIFY COLUMN latency CODEC(ZSTD(3)),
    MODIFY COLUMN positive_scores CODEC(ZSTD(3)),
    MODIFY COLUMN negative_scores CODEC(ZSTD(3)),
    MODIFY COLUMN reliability CODEC(ZSTD(3)),
    MODIFY COLUMN features CODEC(ZSTD(3)),
    MODIFY COLUMN quality CODEC(ZSTD(3)),
    MODIFY COLUMN written CODEC(Delta, ZSTD(1));

ALTER TABLE panes_1h
    MODIFY COLUMN start CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN end CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN deadline CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN snapshots CODEC(ZSTD(1)),
    MODIFY COLUMN topic_partition CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN segment_value CODEC(ZSTD(1)),
    MODIFY COLUMN sums CODEC(ZSTD(3)),
    MODIFY COLUMN latency CODEC(ZSTD(3)),
    MODIFY COLUMN positive_scores CODEC(ZSTD(3)),
    MODIFY COLUMN negative_scores CODEC(ZSTD(3)),
    MODIFY COLUMN reliability CODEC(ZSTD(3)),
    MODIFY COLUMN features CODEC(ZSTD(3)),
    MODIFY COLUMN quality CODEC(ZSTD(3)),
    MODIFY COLUMN written CODEC(Delta, ZSTD(1));

ALTER TABLE drift_log
    MODIFY COLUMN start CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN end CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN topic_offset CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN values CODEC(ZSTD(1));
ALTER TABLE acks_log
    MODIFY COLUMN ts CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN topic_offset CODEC(Delta, ZSTD(1));
ALTER TABLE samples_log
    MODIFY COLUMN ts CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN topic_offset CODEC(Delta, ZSTD(1));

-- A day that is over becomes one part, so that FINAL has nothing to merge in it.
ALTER TABLE panes
    MODIFY SETTING min_age_to_force_merge_seconds = 21600, min_age_to_force_merge_on_partition_only = 1;
ALTER TABLE panes_1m
    MODIFY SETTING min_age_to_force_merge_seconds = 21600, min_age_to_force_merge_on_partition_only = 1;
ALTER TABLE panes_1h
    MODIFY SETTING min_age_to_force_merge_seconds = 21600, min_age_to_force_merge_on_partition_only = 1;
