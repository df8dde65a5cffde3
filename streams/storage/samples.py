"""Custom metrics in the views: the samples of `metrics.samples` by panes, as rows of `metrics` and its like.

A row's `numerator` is the sum of the pane's samples, its `denominator` their number, its `value` their mean:
of a loss that is logged every step, of a use that each worker reports. Panes are as long as the model's
latest policy says, and follow it: samples are kept one by one. A sample's phase and its labels are its
segments.
"""

from schemas.clickhouse import POLICIES, SAMPLES
from schemas.policies import Policy
from streams.metrics import samples
from streams.storage.windows import HOUR, READING

VALUES = 100
"""Values of a segment in one pane, in their order, beyond which the rest is `OTHER`."""
OTHER = "other"

SETTLED = 60_000
"""How long (ms) after its end a pane counts as final: exporters are seldom later. Samples that come later
than that are added all the same."""

_COLUMNS = "pane, seconds, model, of_version, metric"


def series(database: str, window: int = 1, segments: tuple[str, ...] = ()) -> str:
    """A query with the columns of `metrics.metrics`, of windows of `window` ms, or of single panes where
    these are longer; of all samples, or by phase and label, in the columns `segments`.
    """
    source = _by_segment(database, window) if segments else _all(database, window)
    extra = "".join(f", {name}" for name in segments)
    return f"""\
SELECT
    pane, seconds, model,
    CAST(of_version, 'LowCardinality(String)') AS version,
    CAST('', 'LowCardinality(String)') AS arm,
    metric,
    total / number AS value,
    total AS numerator,
    toFloat64(number) AS denominator,
    CAST(NULL, 'Nullable(Float64)') AS lower,
    CAST(NULL, 'Nullable(Float64)') AS upper,
    CAST(pane + toIntervalMillisecond(toInt64(seconds * 1000) + {SETTLED}) < now64(3), 'Bool') AS final{extra}
FROM
({source}
)"""


def _all(database: str, window: int) -> str:
    return f"""
    SELECT {_COLUMNS}, sum(value) AS total, count() AS number
    FROM ({_samples(database, window)}
    )
    GROUP BY {_COLUMNS}"""


def _by_segment(database: str, window: int) -> str:
    values = f"""
        SELECT {_COLUMNS}, label AS segment, word, sum(value) AS total, count() AS number
        FROM ({_samples(database, window)}
        )
        ARRAY JOIN mapKeys(words) AS label, mapValues(words) AS word
        WHERE label != ''
        GROUP BY {_COLUMNS}, segment, word"""
    rank = f"dense_rank() OVER (PARTITION BY {_COLUMNS}, segment ORDER BY word)"
    return f"""
    SELECT
        {_COLUMNS}, CAST(segment, 'LowCardinality(String)') AS segment,
        if(place > {VALUES}, '{OTHER}', word) AS segment_value,
        sum(total) AS total, sum(number) AS number
    FROM (SELECT *, {rank} AS place FROM ({values}))
    GROUP BY {_COLUMNS}, segment, segment_value"""


def _samples(database: str, window: int) -> str:
    """Each sample, with the pane that it stands in.

    Models with panes of the usual length apart from the others: their pane is a monotonic function of the
    table's `ts`, so that ClickHouse prunes by what a user asks of it. By the hour all panes are alike.
    """
    usual = max(window, int(Policy("").pane))
    pane = f"toStartOfInterval(ts, toIntervalMillisecond({usual}))"
    if window == HOUR:
        return _with_panes(database, pane, str(usual), "true")
    others = f"""(
            SELECT model FROM ({_panes(database)}) WHERE greatest({window}, pane_ms) != {usual}
        )"""
    lengths = f"(SELECT mapFromArrays(groupArray(model), groupArray(pane_ms)) FROM ({_panes(database)}))"
    length = f"greatest({window}, {lengths}[model])"
    own = f"fromUnixTimestamp64Milli(intDiv(toUnixTimestamp64Milli(ts), {length}) * {length}, 'UTC')"
    return f"""{_with_panes(database, pane, str(usual), f"model NOT IN {others}")}
        UNION ALL
        {_with_panes(database, own, length, f"model IN {others}")}"""


def _with_panes(database: str, pane: str, length: str, models: str) -> str:
    """The samples of `models`, whose panes have so many ms and begin at `pane`."""
    taken = f"startsWith(name, '{samples.PREFIX}') OR match(name, '{samples.pattern()}')"
    words = "CAST(map('phase', assumeNotNull(phase)), 'Map(LowCardinality(String), String)')"
    return f"""
        SELECT
            {pane} AS pane,
            {length} / 1000 AS seconds,
            model,
            ifNull(version, '') AS of_version,
            if({taken}, concat('{samples.PREFIX}', name), name) AS metric,
            if(phase IS NULL, labels, mapUpdate(labels, {words})) AS words,
            value
        FROM {SAMPLES.full_name(database)} FINAL
        WHERE {models}
        {READING}"""


def _panes(database: str) -> str:
    """Each model with a policy that names a sound `pane`, and its length in ms."""
    units = "['ms', 's', 'm', 'h', 'd'], [1, 1000, 60000, 3600000, 86400000], 0"
    sound = "pane_ms > 0 AND (60000 % pane_ms = 0 OR (pane_ms % 60000 = 0 AND 3600000 % pane_ms = 0))"
    return f"""
                SELECT
                    model,
                    extractGroups(
                        JSONExtractString(argMax(policy, topic_offset), 'pane'),
                        '^\\\\s*([0-9]+(?:[.][0-9]+)?)\\\\s*(ms|s|m|h|d)\\\\s*$'
                    ) AS written,
                    toInt64(round(toFloat64OrZero(written[1]) * transform(written[2], {units}))) AS pane_ms
                FROM {POLICIES.full_name(database)} FINAL
                GROUP BY model
                HAVING {sound}
        """
