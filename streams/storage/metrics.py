"""The query behind `metrics` and its like, generated from the catalogue: a metric that is added there is in
the views.

Every metric is made from sums that were added up first: over source partitions, parts and generations, and
over panes where a view's window holds several. Retracted snapshots are void. The numbers are those of
`streams/metrics/evaluate.py`, where the formulas' sources stand.

The query has a branch for each kind of metric, which reads what that is made of and no more. In it each
series is joined with the metrics, a table of constants: a condition on `metric` is applied to that table
first, so that a question for one metric computes one, and a branch that has none of those asked for reads
nothing.

A series (one pane of one model, version and arm) that has predictions has a row for every metric; the value
of a count may be 0, that of a ratio whose denominator is 0 is NULL. A series without any (feedback that
answers nothing, a prediction that came too late) has rows only for what it counts. A metric with a cut-off
has a row for each k for which the series has the numerator's sum, 0 or not.
"""

from collections.abc import Sequence
from typing import NamedTuple

from schemas.records import QUALITY
from streams.metrics.catalogue import (
    BINNED,
    CUT_OFF,
    OF_ALL_CUT_OFFS,
    OF_FEATURES,
    QUANTILES,
    RATIOS,
    SECONDS,
    Adds,
    Ratio,
)
from streams.metrics.interval import Z95
from streams.storage import formulas
from streams.storage.windows import BY_CUT_OFF, PANE, Tallied, Windows, merged, passed, summed


def metrics(database: str, window: int = PANE, segments: tuple[str, ...] = ()) -> str:
    """The metrics of windows of `window` ms, or of single panes where these are longer; of all requests, or
    of each one of `segments`.

    `pane` is a monotonic function of the tables' `start`, so that ClickHouse prunes parts and granules by
    what a user asks of it.

    `final`: the partitions of `metrics.panes` in which the window's snapshots stand have passed the deadline
    of the last pane that it can hold. Later records are counted in parts of their own, which do not open the
    pane again.
    """
    windows = Windows(database, window, segments)
    plain = [metric for metric in RATIOS if not metric.name.endswith(CUT_OFF)]
    features = [metric for metric in plain if not {*OF_FEATURES.values()}.isdisjoint(metric.sums)]
    branches = [
        _ratios(windows, _SUMS, [metric for metric in plain if metric not in features]),
        _ratios(windows, _FEATURES, features),
        _cut_offs(windows, [metric for metric in RATIOS if metric.name.endswith(CUT_OFF)]),
        _quantiles(windows),
        *(_binned(windows, metric.name) for metric in BINNED),
    ]
    return "\nUNION ALL\n".join(branches)


def _ratios(windows: Windows, total: Tallied, metrics: Sequence[Ratio]) -> str:
    """Ratios and counts of what is in `total`, a map from names to sums."""
    rows = [
        f"('{metric.name}', {_texts(metric.numerator)}, {_texts(metric.denominator)}, {_wilson(metric)})"
        for metric in metrics
    ]
    return _of_rows(
        windows,
        f"""\
        SELECT
            {_series(windows)}, metric, predictions, wilson,
            toNullable(arraySum(name -> total[name], added)) AS numerator,
            if(
                empty(divided), NULL,
                arraySum(name -> if(name = '{SECONDS}', seconds, total[name]), divided)
            ) AS denominator
        FROM
        {_joined(windows, [total], ("metric", "added", "divided", "wilson"), rows)}""",
    )


def _cut_offs(windows: Windows, metrics: Sequence[Ratio]) -> str:
    """Ratios with a cut-off, a row for each k that the numerator's sums have."""
    rows = []
    for metric in metrics:
        [added], [divided] = metric.numerator, metric.denominator
        if divided in OF_ALL_CUT_OFFS:
            divided += CUT_OFF
        stems = (f"'{stem(name)}'" for name in (metric.name, added, divided))
        rows.append(f"({', '.join(stems)}, {_wilson(metric)})")
    return _of_rows(
        windows,
        f"""\
        SELECT
            {_series(windows)}, concat(stem, k) AS metric, predictions, wilson,
            toNullable(total[concat(added, k)]) AS numerator,
            toNullable(total[concat(divided, k)]) AS denominator
        FROM
        {_joined(windows, [BY_CUT_OFF], ("stem", "added", "divided", "wilson"), rows)}
        ARRAY JOIN arrayMap(
            name -> substring(name, length(added) + 1),
            arrayFilter(name -> startsWith(name, added), mapKeys(total))
        ) AS k""",
    )


def _quantiles(windows: Windows) -> str:
    """The latency's order statistics of rank ⌈qn⌉, as `histogram.quantile` has them, with bounds;
    `denominator` is n.
    """
    rows = [f"('{quantile.name}', {quantile.q!r})" for quantile in QUANTILES]
    half = f"{Z95!r} * sqrt(timed * q * (1 - q))"
    value, lower, upper = (
        f"if({rank} BETWEEN 1 AND timed, {formulas.at_rank('bins', 'ranks', rank)}, NULL)"
        for rank in ("ceil(timed * q)", f"ceil(timed * q - {half})", f"ceil(timed * q + {half})")
    )
    return f"""\
SELECT
    pane, seconds, model, version, arm, metric, value,
    CAST(NULL, 'Nullable(Float64)') AS numerator, timed AS denominator, lower, upper, final{windows.extra}
FROM
(
    WITH
        mapKeys(latencies) AS bins,
        arrayCumSum(mapValues(latencies)) AS ranks,
        toFloat64(ranks[-1]) AS timed
    SELECT {_series(windows)}, metric, timed, {value} AS value, {lower} AS lower, {upper} AS upper
    FROM
        {_joined(windows, [merged("latencies", "latency")], ("metric", "q"), rows)}
    WHERE predictions > 0
)"""


def _of_rows(windows: Windows, query: str) -> str:
    """The rows of ratios that `query` finds, with values and, where `wilson` says so, bounds."""
    lower, upper = formulas.wilson("numerator", "denominator")
    return f"""\
SELECT
    pane, seconds, model, version, arm, metric,
    numerator / if(denominator IS NULL, 1, nullIf(denominator, 0)) AS value,
    numerator, denominator,
    if(wilson, {lower}, NULL) AS lower,
    if(wilson, {upper}, NULL) AS upper,
    final{windows.extra}
FROM
(
{query}
)
WHERE predictions > 0 OR numerator != 0"""


def _joined(windows: Windows, tallied: Sequence[Tallied], names: Sequence[str], rows: Sequence[str]) -> str:
    """Each series with what is `tallied`, the number of its predictions and whether it is final, joined with
    each of `rows`, tuples of columns called `names`."""
    columns = ", ".join(f"row.{place} AS {name}" for place, name in enumerate(names, 1))
    return f"""\
(
            SELECT
                pane, seconds, {windows.series}, {final_of(windows)} AS final, predictions,
                {", ".join(each.name for each in tallied)}
            FROM
            {windows.series_of(_PREDICTIONS, *tallied)}
        ) AS series
        CROSS JOIN
        (
            SELECT {columns} FROM (SELECT arrayJoin([{", ".join(rows)}]) AS row)
        ) AS named"""


def final_of(windows: Windows) -> str:
    """Whether all partitions of `metrics.panes` in which a window's snapshots stand have passed the deadline
    of the last pane that it can hold."""
    due = "pane + toIntervalMillisecond(toInt64(seconds * 1000) + wait)"
    return f"CAST(arrayAll(source -> {passed(windows.database)}[source] > {due}, sources), 'Bool')"


def stem(name: str) -> str:
    """A name without the cut-off that stands for it."""
    return name.removesuffix("k") if name.endswith(CUT_OFF) else name


def _series(windows: Windows) -> str:
    return f"pane, seconds, {windows.series}, final"


def _wilson(metric: Ratio) -> str:
    """Whether its bounds follow from numerator and denominator."""
    return str(metric.adds is not Adds.AMOUNTS).lower()


def _texts(names: Sequence[str]) -> str:
    return f"CAST([{', '.join(map(repr, names))}], 'Array(String)')"


_SUMS = merged("total", "sums")
_PREDICTIONS = summed("predictions", "sums['predictions']")

_OF_FEATURES = (
    f"mapFromArrays({_texts([OF_FEATURES[name] for name in QUALITY])}, arrayMap(count -> toFloat64(count), "
    f"arrayResize(arrayReduce('sumForEach', mapValues(quality)), {len(QUALITY)})))"
)
_FEATURES = Tallied("total", f"sumMap({_OF_FEATURES})", _OF_FEATURES)
"""The sums over all features."""


class _Statistic(NamedTuple):
    """SQL of a statistic of binned scores: what is aggregated, what is made of that, and the row's
    columns."""

    tallied: tuple[Tallied, ...]
    aliases: str
    numerator: str
    denominator: str
    lower: str
    upper: str


def _binned(windows: Windows, metric: str) -> str:
    """One statistic of binned scores."""
    statistic = _STATISTICS[metric]
    return f"""\
SELECT
    pane, seconds, model, version, arm,
    '{metric}' AS metric,
    numerator / nullIf(denominator, 0) AS value,
    numerator, denominator, lower, upper, final{windows.extra}
FROM
(
    WITH
        {statistic.aliases}
    SELECT
        pane, seconds, {windows.series}, {final_of(windows)} AS final, predictions,
        toNullable({statistic.numerator}) AS numerator,
        toNullable({statistic.denominator}) AS denominator,
        CAST({statistic.lower}, 'Nullable(Float64)') AS lower,
        CAST({statistic.upper}, 'Nullable(Float64)') AS upper
    FROM
    {windows.series_of(_PREDICTIONS, *statistic.tallied)}
)
WHERE predictions > 0 OR numerator != 0"""


def _roc_auc() -> _Statistic:
    """The pairs of a positive and a negative that the positive has `won`, of all such pairs (`contests`); the
    bounds are Hanley and McNeil's."""
    square = "area * area"
    one = f"(positives - 1) * (area / (2 - area) - {square})"
    other = f"(negatives - 1) * (2 * {square} / (1 + area) - {square})"
    aliases = f"""mapKeys(scored) AS places,
        mapValues(scored) AS counts,
        toFloat64(arraySum((place, count) -> if(place % 2 = 0, count, 0), places, counts)) AS negatives,
        toFloat64(arraySum(counts)) - negatives AS positives,
        {formulas.positives_won("places", "counts")} AS won,
        positives * negatives AS contests,
        won / nullIf(contests, 0) AS area,
        {Z95!r} * sqrt(greatest(0., area * (1 - area) + {one} + {other}) / contests) AS doubt"""
    return _Statistic(
        tallied=(Tallied("scored", f"sumMap({formulas.SCORED})", f"mapSort({formulas.SCORED})"),),
        aliases=aliases,
        numerator="won",
        denominator="contests",
        lower="if(contests > 0, greatest(0., assumeNotNull(area - doubt)), NULL)",
        upper="if(contests > 0, least(1., assumeNotNull(area + doubt)), NULL)",
    )


_GAPS = "mapApply((bin, list) -> (bin, list[2] - list[3]), reliability)"

_STATISTICS = {
    "roc_auc": _roc_auc(),
    "ece": _Statistic(
        tallied=(
            Tallied("gaps", f"sumMap({_GAPS})", _GAPS),
            summed("pairs", "arraySum(list -> list[1], mapValues(reliability))"),
        ),
        aliases="arraySum(gap -> abs(gap), mapValues(gaps)) AS misjudged",
        numerator="misjudged",
        denominator="pairs",
        lower="NULL",
        upper="NULL",
    ),
}
