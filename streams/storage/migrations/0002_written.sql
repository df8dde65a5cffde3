-- When each row was written, which is what its age is counted from (retention.py): recorded data of years ago
-- would be too old at once if their own times counted. Rows from before this begin to age when they are merged.

ALTER TABLE panes ADD COLUMN IF NOT EXISTS written DateTime DEFAULT now() CODEC(Delta, ZSTD(1));
ALTER TABLE drift_log ADD COLUMN IF NOT EXISTS written DateTime DEFAULT now() CODEC(Delta, ZSTD(1));
ALTER TABLE alerts_log ADD COLUMN IF NOT EXISTS written DateTime DEFAULT now() CODEC(Delta, ZSTD(1));
ALTER TABLE acks_log ADD COLUMN IF NOT EXISTS written DateTime DEFAULT now() CODEC(Delta, ZSTD(1));
ALTER TABLE samples_log ADD COLUMN IF NOT EXISTS written DateTime DEFAULT now() CODEC(Delta, ZSTD(1));
ALTER TABLE dead_letters_log ADD COLUMN IF NOT EXISTS written DateTime DEFAULT now() CODEC(Delta, ZSTD(1));

-- What is too old goes by whole parts, and a new limit is noted without rewriting anything.
ALTER TABLE panes MODIFY SETTING ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1;
