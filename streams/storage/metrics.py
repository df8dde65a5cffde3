"""The query behind `metrics` and its like, generated from the catalogue: a metric that is added there is in
the views.

Every metric is made from sums that were added up first: over source partitions, parts and generations, and
over panes where a view's window holds several. Retracted snapshots are void.

A series (one pane of one model, version and arm) that has predictions has a row for every metric; the value
of a count may be 0, that of a ratio whose denominator is 0 is NULL. A series without any (feedback that
answers nothing, a prediction that came too late) has rows only for what it counts. A metric with a cut-off
has a row for each k for which the series has the numerator's sum, 0 or not.
"""

from schemas.clickhouse import PANES, PROGRESS
from streams.metrics.catalogue import QUANTILES, RATIOS, SECONDS, Metric
from streams.metrics.histogram import GAMMA, ZERO
from streams.metrics.interval import Z95

SEGMENTS = ("segment", "segment_value")
"""The columns that `metrics_by_segment` has and the others do not."""

_ROWS = (
    "Array(Tuple(metric String, value Nullable(Float64), numerator Nullable(Float64),"
    " denominator Nullable(Float64), share Bool))"
)


def metrics(database: str, window: int = 1, segments: tuple[str, ...] = ()) -> str:
    """The metrics of windows of `window` ms, or of single panes where these are longer; of all requests, or
    of each one of `segments`.

    `pane` is a monotonic function of the tables' `start`, so that ClickHouse prunes parts and granules by
    what a user asks of it.

    `lower` and `upper` are Wilson's 95 % interval, with x of n: (x + z²/2 ± z √(x(n − x)/n + z²/4)) / (n +
    z²). (E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the
    American Statistical Association 22, 1927.)

    `final`: the partitions of `metrics.panes` in which the window's snapshots stand have passed the deadline
    of the last pane that it can hold. Later records are counted in parts of their own, which do not open the
    pane again.
    """
    extra = "".join(f", {name}" for name in segments)
    series = f", model, version, arm{extra}"
    start = "start" if window == 1 else f"toStartOfInterval(start, toIntervalMillisecond({window}))"
    spread = f"row.numerator * (row.denominator - row.numerator) / row.denominator + {Z95**2 / 4!r}"
    half = f"{Z95!r} * sqrt({spread})"
    bound = f"assumeNotNull((row.numerator + {Z95**2 / 2!r} {{}} {half}) / (row.denominator + {Z95**2!r}))"
    known = "row.share AND row.denominator > 0 AND row.numerator BETWEEN 0 AND row.denominator"
    return f"""\
WITH
    ({_passed(database)}) AS passed,
    mapKeys(histogram) AS bins,
    arrayCumSum(mapValues(histogram)) AS ranks,
    toFloat64(ranks[-1]) AS timed
SELECT
    pane, seconds, model, version, arm,
    row.metric AS metric,
    row.value AS value,
    row.numerator AS numerator,
    row.denominator AS denominator,
    if({known}, greatest(0., {bound.format("-")}), NULL) AS lower,
    if({known}, least(1., {bound.format("+")}), NULL) AS upper,
    CAST(arrayAll(place -> passed[place] > due, places), 'Bool') AS final{extra}
FROM
(
    SELECT
        {start} AS pane,
        greatest({window}, dateDiff('millisecond', start, end)) / 1000 AS seconds{series},
        sumMap(sums) AS total,
        sumMap(latency) AS histogram,
        max((part = 0, dateDiff('millisecond', end, deadline))).2 AS wait,
        pane + toIntervalMillisecond(toInt64(seconds * 1000) + wait) AS due,
        groupUniqArray(topic_partition) AS places
    FROM {PANES.full_name(database)} FINAL
    WHERE NOT retracted AND segment {"!=" if segments else "="} ''
    GROUP BY pane, seconds{series}
    SETTINGS do_not_merge_across_partitions_select_final = 1
)
ARRAY JOIN CAST(
    arrayFilter(
        row -> total['predictions'] > 0 OR ifNull(row.3, 0) != 0,
        arrayConcat({_ratios()}, {_quantiles()})
    ),
    '{_ROWS}'
) AS row"""


def _passed(database: str) -> str:
    """A map from each partition of `metrics.panes` to the time that it has passed: panes in it with an
    earlier deadline are final.

    That is the earliest of its source partitions' times, once all of them have reported.
    """
    return f"""\
SELECT mapFromArrays(groupArray(topic_partition), groupArray(earliest)) FROM
    (
        SELECT topic_partition, min(time) AS earliest
        FROM {PROGRESS.full_name(database)} FINAL
        GROUP BY topic_partition
        HAVING count() >= max(partitions)
    )"""


def _ratios() -> str:
    """An array of rows with all ratios and counts, from `total` and `seconds`."""
    plain = [_entry(metric) for metric in RATIOS if "@k" not in metric.name]
    cut_off = [_entries(metric) for metric in RATIOS if "@k" in metric.name]
    denominator = f"multiIf(m.3 = '', NULL, m.3 = '{SECONDS}', seconds, total[m.3])"
    value = f"total[m.2] / if(m.3 = '', 1, nullIf({denominator}, 0))"
    return f"""
            arrayMap(
                m -> (m.1, {value}, total[m.2], {denominator}, m.4),
                arrayConcat({", ".join([f"[{', '.join(plain)}]", *cut_off])})
            )"""


def _entry(metric: Metric) -> str:
    return f"('{metric.name}', '{metric.numerator}', '{metric.denominator or ''}', {metric.share})"


def _entries(metric: Metric) -> str:
    """The entries of a metric with a cut-off, its names written out for each k that the numerator's sums
    have."""
    stem = metric.numerator.removesuffix("k")
    names = (
        f"replaceOne('{name}', '@k', substring(name, {len(stem)}))"
        for name in (metric.name, metric.numerator, metric.denominator or "")
    )
    found = f"arrayFilter(name -> startsWith(name, '{stem}'), mapKeys(total))"
    return f"arrayMap(name -> ({', '.join(names)}, {metric.share}), {found})"


def _quantiles() -> str:
    """An array of rows with the latency's order statistics of rank ⌈qn⌉, as `histogram.quantile` has them;
    `denominator` is n."""
    listed = ", ".join(f"('{quantile.name}', {quantile.q!r})" for quantile in QUANTILES)
    bin_ = "bins[arrayFirstIndex(rank -> rank >= ceil(m.2 * timed), ranks)]"
    representative = f"if({bin_} = {ZERO}, 0, {2 / (GAMMA + 1)!r} * pow({GAMMA!r}, {bin_}))"
    return f"""
            arrayMap(
                m -> (m.1, if(timed = 0, NULL, {representative}), NULL, timed, false),
                [{listed}]
            )
        """
