"""The views of the contract's section 4, as SQL over the tables of `schemas/clickhouse.py`. The metrics' SQL
is `metrics.py`'s."""

from schemas.clickhouse import (
    ACKS,
    ALERTS,
    COMMANDS,
    DEAD_LETTERS,
    PANES,
    POLICIES,
    PROFILES,
    RELEASES,
    SAMPLES,
    TOPIC_OFFSET,
    TOPIC_PARTITION,
    Table,
    quoted,
)
from schemas.policies import Drift
from schemas.records import SCORE
from streams.storage.metrics import SEGMENTS, metrics

RECORDS = {
    "alerts": ALERTS,
    "releases": RELEASES,
    "acks": ACKS,
    "commands": COMMANDS,
    "policies": POLICIES,
    "samples": SAMPLES,
    "dead_letters": DEAD_LETTERS,
}
"""The views that show a topic's records as they are."""

NAMES = ("metrics", "metrics_by_segment", "metrics_1m", "metrics_1h", "drift", *RECORDS)
"""All views."""

FLOOR = 1e-4
"""The least proportion that a bin has in the population stability index: an empty one would make it
infinite."""


def definitions(database: str) -> dict[str, str]:
    """The query of each view by its name, over the tables in `database`."""
    return {
        "metrics": metrics(database),
        "metrics_by_segment": metrics(database, segments=SEGMENTS),
        "metrics_1m": metrics(database, window=60_000),
        "metrics_1h": metrics(database, window=3_600_000),
        "drift": _drift(database),
        **{name: _records(database, table) for name, table in RECORDS.items()},
    }


def _records(database: str, table: Table) -> str:
    columns = [column.name for column in table.columns if column not in (TOPIC_PARTITION, TOPIC_OFFSET)]
    return f"SELECT {', '.join(map(quoted, columns))}\nFROM {table.full_name(database)} FINAL"


def _drift(database: str) -> str:
    """Population stability index of each feature, and of the score, of each pane against its version's
    profile.

    With aᵢ of the pane's and eᵢ of the profile's values in bin i, as proportions of at least `FLOOR`: Σ (aᵢ −
    eᵢ) ln(aᵢ/eᵢ). (B. Yurdakul, "Statistical Properties of Population Stability Index", Western Michigan
    University 2018.) NULL where either has no values. A feature that is not in the profile, or was tallied in
    other bins than it has, has no row. `threshold` is the latest policy's.
    """
    same_bins = "arrayResize(counts, length(reference))"  # what is not of equal length is filtered, but when?
    return f"""\
WITH ({_thresholds(database)}) AS thresholds
SELECT
    pane, seconds, model, version, arm, feature,
    'psi' AS method,
    if(
        arraySum(counts) = 0 OR arraySum(reference) = 0, NULL,
        arraySum(
            (actual, expected) -> (actual - expected) * log(actual / expected),
            arrayMap(count -> greatest(count / arraySum(counts), {FLOOR}), {same_bins}),
            arrayMap(count -> greatest(count / arraySum(reference), {FLOOR}), reference)
        )
    ) AS value,
    if(thresholds[model] > 0, thresholds[model], {float(Drift().psi)!r}) AS threshold,
    CAST(ifNull(value > threshold, 0), 'Bool') AS drifted,
    if(feature = '{SCORE}', 'prediction', 'data') AS kind
FROM
(
    SELECT
        start AS pane,
        dateDiff('millisecond', start, end) / 1000 AS seconds,
        model, version, arm, feature,
        sumForEach(tally) AS counts
    FROM {PANES.full_name(database)} FINAL
    ARRAY JOIN mapKeys(features) AS feature, mapValues(features) AS tally
    WHERE NOT retracted AND segment = ''
    GROUP BY pane, seconds, model, version, arm, feature
    SETTINGS do_not_merge_across_partitions_select_final = 1
) AS observed
INNER JOIN
(
    SELECT model, version, feature, reference
    FROM {PROFILES.full_name(database)} FINAL
    ARRAY JOIN mapKeys(features) AS feature, mapValues(features) AS reference
) AS profile USING (model, version, feature)
WHERE length(counts) = length(reference)"""


def _thresholds(database: str) -> str:
    """A map from each model to its latest policy's threshold for PSI, 0 where that says nothing."""
    return f"""\
SELECT mapFromArrays(groupArray(model), groupArray(psi)) FROM
    (
        SELECT model, argMax(JSONExtractFloat(policy, 'drift', 'psi'), topic_offset) AS psi
        FROM {POLICIES.full_name(database)} FINAL
        GROUP BY model
    )"""
