"""The query behind `metrics` and its like, generated from the catalogue: a metric that is added there is in
the views.

Every metric is made from sums that were added up first: over source partitions, parts and generations, and
over panes where a view's window holds several. Retracted snapshots are void. The numbers are those of
`streams/metrics/evaluate.py`, where the formulas' sources stand.

The query has a branch for all ratios and quantiles, which come as an array of rows, and one for each
statistic of binned scores. A branch's name of a metric being a constant, a question for other metrics does
not compute it.

A series (one pane of one model, version and arm) that has predictions has a row for every metric; the value
of a count may be 0, that of a ratio whose denominator is 0 is NULL. A series without any (feedback that
answers nothing, a prediction that came too late) has rows only for what it counts. A metric with a cut-off
has a row for each k for which the series has the numerator's sum, 0 or not.
"""

from collections.abc import Sequence
from typing import NamedTuple

from schemas.clickhouse import PANES, PROGRESS
from schemas.records import QUALITY
from streams.metrics.catalogue import BINNED, CUT_OFF, OF_FEATURES, QUANTILES, RATIOS, SECONDS, Adds, Ratio
from streams.metrics.histogram import GAMMA, ZERO
from streams.metrics.interval import Z95

SEGMENTS = ("segment", "segment_value")
"""The columns that `metrics_by_segment` has and the others do not."""

_ROWS = (
    "Array(Tuple(metric String, numerator Nullable(Float64), denominator Nullable(Float64), wilson Bool,"
    " statistic Nullable(Float64), lower Nullable(Float64), upper Nullable(Float64)))"
)
"""`wilson`: the bounds follow from numerator and denominator. `statistic`: the value, where it does not."""


class _Query(NamedTuple):
    """Whose metrics: windows of `window` ms, or single panes where these are longer, and their columns beyond
    the series'."""

    database: str
    window: int
    segments: tuple[str, ...]

    @property
    def extra(self) -> str:
        """The further columns, each after a comma."""
        return "".join(f", {name}" for name in self.segments)

    def series(self, tallied: str) -> str:
        """A query of all series: what tells them apart, whether they are `final`, and what `tallied`
        aggregates."""
        series = f", model, version, arm{self.extra}"
        start = (
            "start" if self.window == 1 else f"toStartOfInterval(start, toIntervalMillisecond({self.window}))"
        )
        return f"""\
(
        SELECT
            {start} AS pane,
            greatest({self.window}, dateDiff('millisecond', start, end)) / 1000 AS seconds{series},
            {tallied},
            max((part = 0, dateDiff('millisecond', end, deadline))).2 AS wait,
            pane + toIntervalMillisecond(toInt64(seconds * 1000) + wait) AS due,
            groupUniqArray(topic_partition) AS sources,
            ({_passed(self.database)}) AS passed,
            CAST(arrayAll(source -> passed[source] > due, sources), 'Bool') AS final
        FROM {PANES.full_name(self.database)} FINAL
        WHERE NOT retracted AND segment {"!=" if self.segments else "="} ''
        GROUP BY pane, seconds{series}
        SETTINGS do_not_merge_across_partitions_select_final = 1
    )"""


def metrics(database: str, window: int = 1, segments: tuple[str, ...] = ()) -> str:
    """The metrics of windows of `window` ms, or of single panes where these are longer; of all requests, or
    of each one of `segments`.

    `pane` is a monotonic function of the tables' `start`, so that ClickHouse prunes parts and granules by
    what a user asks of it.

    `final`: the partitions of `metrics.panes` in which the window's snapshots stand have passed the deadline
    of the last pane that it can hold. Later records are counted in parts of their own, which do not open the
    pane again.
    """
    query = _Query(database, window, segments)
    return "\nUNION ALL\n".join([_listed(query), *(_binned(query, metric.name) for metric in BINNED)])


def _listed(query: _Query) -> str:
    """All ratios, counts and quantiles."""
    spread = f"row.numerator * (row.denominator - row.numerator) / row.denominator + {Z95**2 / 4!r}"
    half = f"{Z95!r} * sqrt({spread})"
    bound = f"assumeNotNull((row.numerator + {Z95**2 / 2!r} {{}} {half}) / (row.denominator + {Z95**2!r}))"
    known = "row.wilson AND row.denominator > 0 AND row.numerator BETWEEN 0 AND row.denominator"
    ratio = "row.numerator / if(row.denominator IS NULL, 1, nullIf(row.denominator, 0))"
    tallied = """sumMap(sums) AS total,
            sumMap(latency) AS latencies,
            sumForEach(arrayReduce('sumForEach', mapValues(quality))) AS checked"""
    return f"""\
SELECT
    pane, seconds, model, version, arm,
    row.metric AS metric,
    if(row.numerator IS NULL, row.statistic, {ratio}) AS value,
    row.numerator AS numerator,
    row.denominator AS denominator,
    if({known}, greatest(0., {bound.format("-")}), row.lower) AS lower,
    if({known}, least(1., {bound.format("+")}), row.upper) AS upper,
    final{query.extra}
FROM
(
    WITH
        mapKeys(latencies) AS bins,
        arrayCumSum(mapValues(latencies)) AS ranks,
        toFloat64(ranks[-1]) AS timed
    SELECT
        pane, seconds, model, version, arm, final{query.extra},
        CAST(
            arrayFilter(
                row -> total['predictions'] > 0 OR ifNull(row.2, 0) != 0,
                arrayConcat({_ratios()}, {_quantiles()})
            ),
            '{_ROWS}'
        ) AS rows
    FROM
    {query.series(tallied)}
)
ARRAY JOIN rows AS row"""


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
    """Arrays of rows with all ratios and counts."""
    plain = [metric for metric in RATIOS if not metric.name.endswith(CUT_OFF)]
    cut_off = [metric for metric in RATIOS if metric.name.endswith(CUT_OFF)]
    rows = ",\n                ".join(_ratio(metric, f"'{metric.name}'", "") for metric in plain)
    return ", ".join([f"\n            [\n                {rows}\n            ]", *map(_cut_offs, cut_off)])


def _cut_offs(metric: Ratio) -> str:
    """The rows of a metric with a cut-off, one for each k that the numerator's sums have."""
    [numerator] = metric.numerator
    stem = numerator.removesuffix("k")
    found = f"arrayFilter(name -> startsWith(name, '{stem}'), mapKeys(total))"
    k = f"substring(name, {len(stem) + 1})"
    return f"\n            arrayMap(name -> {_ratio(metric, _at(metric.name, k), k)}, {found})"


def _ratio(metric: Ratio, name: str, k: str) -> str:
    """The row of a metric; `name` and the cut-off `k` are SQL."""
    denominator = _total(metric.denominator, k) if metric.denominator else "NULL"
    wilson = metric.adds is not Adds.AMOUNTS
    return f"({name}, {_total(metric.numerator, k)}, {denominator}, {wilson}, NULL, NULL, NULL)"


def _total(names: Sequence[str], k: str) -> str:
    return " + ".join(_sum(name, k) for name in names)


def _sum(name: str, k: str) -> str:
    if name == SECONDS:
        return SECONDS
    if name in _CHECKED:
        return f"toFloat64(checked[{_CHECKED[name]}])"
    return f"total[{_at(name, k) if name.endswith(CUT_OFF) else repr(name)}]"


_CHECKED = {OF_FEATURES[name]: place for place, name in enumerate(QUALITY, 1)}
"""Where the sums over all features stand in `checked`."""


def _at(name: str, k: str) -> str:
    """A name with a cut-off, written out in SQL."""
    return f"concat('{name.removesuffix('k')}', {k})"


class _Statistic(NamedTuple):
    """SQL of a statistic of binned scores: what is aggregated, what is made of that, and the row's
    columns."""

    tallied: str
    aliases: str
    numerator: str
    denominator: str
    lower: str
    upper: str


def _binned(query: _Query, metric: str) -> str:
    """One statistic of binned scores."""
    statistic = _STATISTICS[metric]
    tallied = f"sum(sums['predictions']) AS predictions,\n            {statistic.tallied}"
    return f"""\
SELECT
    pane, seconds, model, version, arm,
    '{metric}' AS metric,
    numerator / nullIf(denominator, 0) AS value,
    numerator, denominator, lower, upper, final{query.extra}
FROM
(
    WITH
        {statistic.aliases}
    SELECT
        pane, seconds, model, version, arm, final{query.extra}, predictions,
        toNullable({statistic.numerator}) AS numerator,
        toNullable({statistic.denominator}) AS denominator,
        CAST({statistic.lower}, 'Nullable(Float64)') AS lower,
        CAST({statistic.upper}, 'Nullable(Float64)') AS upper
    FROM
    {query.series(tallied)}
)
WHERE predictions > 0 OR numerator != 0"""


def _roc_auc() -> _Statistic:
    """Mann and Whitney's U as `won`, all pairs of a positive and a negative as `contests`, the bounds by
    Hanley and McNeil.

    Both maps of scores are added up as one: negatives of bin i under 2i, positives under 2i + 1. A positive
    has won against the negatives up to it, half of those just before it if they are of its bin.
    """
    even = "arrayMap(bin -> 2 * bin, mapKeys(negative_scores))"
    odd = "arrayMap(bin -> 2 * bin + 1, mapKeys(positive_scores))"
    values = "mapValues(negative_scores), mapValues(positive_scores)"
    same = "if(before = place - 1, others / 2, 0)"
    square = "area * area"
    one = f"(positives - 1) * (area / (2 - area) - {square})"
    other = f"(negatives - 1) * (2 * {square} / (1 + area) - {square})"
    aliases = f"""mapKeys(scored) AS places,
        mapValues(scored) AS counts,
        arrayMap((place, count) -> if(place % 2 = 0, count, 0), places, counts) AS negative,
        toFloat64(arraySum(negative)) AS negatives,
        toFloat64(arraySum(counts)) - negatives AS positives,
        arraySum(
            (place, count, below, before, others) -> if(place % 2 = 0, 0, count * (below - {same})),
            places, counts, arrayCumSum(negative), {_shifted("places")}, {_shifted("counts")}
        ) AS won,
        positives * negatives AS contests,
        won / nullIf(contests, 0) AS area,
        {Z95!r} * sqrt(greatest(0., area * (1 - area) + {one} + {other}) / contests) AS doubt"""
    return _Statistic(
        tallied=f"sumMap(mapFromArrays(arrayConcat({even}, {odd}), arrayConcat({values}))) AS scored",
        aliases=aliases,
        numerator="won",
        denominator="contests",
        lower="if(contests > 0, greatest(0., assumeNotNull(area - doubt)), NULL)",
        upper="if(contests > 0, least(1., assumeNotNull(area + doubt)), NULL)",
    )


def _shifted(array: str) -> str:
    """What stands before each place of an array; before the first a zero."""
    return f"arrayPopBack(arrayPushFront({array}, 0))"


_STATISTICS = {
    "roc_auc": _roc_auc(),
    "ece": _Statistic(
        tallied="""sumMap(mapApply((bin, list) -> (bin, list[2] - list[3]), reliability)) AS gaps,
            sum(arraySum(list -> list[1], mapValues(reliability))) AS pairs""",
        aliases="arraySum(gap -> abs(gap), mapValues(gaps)) AS misjudged",
        numerator="misjudged",
        denominator="pairs",
        lower="NULL",
        upper="NULL",
    ),
}


def _quantiles() -> str:
    """An array of rows with the latency's order statistics of rank ⌈qn⌉, as `histogram.quantile` has them;
    `denominator` is n.
    """
    listed = ", ".join(f"('{quantile.name}', {quantile.q!r})" for quantile in QUANTILES)
    half = f"{Z95!r} * sqrt(timed * m.2 * (1 - m.2))"
    values = (
        f"if({rank} BETWEEN 1 AND timed, {_at_rank(rank)}, NULL)"
        for rank in ("ceil(timed * m.2)", f"ceil(timed * m.2 - {half})", f"ceil(timed * m.2 + {half})")
    )
    return f"""
            arrayMap(
                m -> (m.1, NULL, timed, false, {", ".join(values)}),
                [{listed}]
            )
        """


def _at_rank(rank: str) -> str:
    bin_ = f"bins[arrayFirstIndex(last -> last >= {rank}, ranks)]"
    return f"if({bin_} = {ZERO}, 0, {2 / (GAMMA + 1)!r} * pow({GAMMA!r}, {bin_}))"
