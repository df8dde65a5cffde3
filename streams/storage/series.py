"""The query behind `series`: what `metrics` has in rows, in columns: a row for each window of a series, and a
column for each metric of the catalogue. Of a metric with a cut-off that is a map from each k to its value.

For who wants some metrics of many windows, as dashboards do: of a column that nobody asks for, nothing is
read or computed. `metrics` cannot have that, whose rows are of all metrics alike. The numbers are the same.

Rollups keep what takes long to find out (`KEPT`) in columns of their own, made from the row's tallies when it
is inserted (`migrations/0006_statistics.sql`).
"""

from collections.abc import Mapping

from schemas.records import QUALITY
from schemas.table import NUMBER, quoted
from streams.metrics.catalogue import CUT_OFF, METRICS, OF_FEATURES, QUANTILES, RATIOS, SECONDS, Adds, Ratio
from streams.storage import formulas
from streams.storage.metrics import final_of, stem
from streams.storage.windows import BY_CUT_OFF, PANE, TALLIES, Tallied, Windows, summed

_AT_CUT_OFFS = [metric for metric in RATIOS if metric.name.endswith(CUT_OFF)]
_RATIOS = [metric for metric in RATIOS if not metric.name.endswith(CUT_OFF)]
_OF_QUALITY = {name: place for place, name in enumerate(map(OF_FEATURES.__getitem__, QUALITY), 1)}
_SUMS = [*dict.fromkeys(name for metric in _RATIOS for name in metric.sums if name != SECONDS)]
_NAMES = {metric.name for metric in METRICS}
_PLAIN = [name for name in _SUMS if name not in _NAMES and name not in _OF_QUALITY]
"""The sums that no metric is called like."""


KEPT = {
    *("latency_p50_ms", "latency_p90_ms", "latency_p95_ms", "latency_p99_ms", "latency_p999_ms"),
    *("roc_auc", "ece"),
}
"""The metrics that rollups have a column of; any other is worked out of their tallies."""


def _statistic(name: str, whole: str, alone: str) -> Tallied:
    return Tallied(name, whole, quoted(name) if name in KEPT else alone)


_STATISTICS = (
    *(
        _statistic(
            metric.name,
            formulas.quantile(f"{TALLIES['latency']}(latency)", metric.q),
            formulas.quantile("latency", metric.q),
        )
        for metric in QUANTILES
    ),
    _statistic(
        "roc_auc",
        formulas.roc_auc(f"sumMap({formulas.SCORED})", *(f"sum({number})" for number in formulas.PAIRED)),
        formulas.roc_auc(f"mapSort({formulas.SCORED})", *formulas.PAIRED),
    ),
    _statistic("ece", formulas.ece(f"{TALLIES['reliability']}(reliability)"), formulas.ece("reliability")),
)
"""The metrics that are no ratios of sums."""


def series(database: str, window: int = PANE, segments: tuple[str, ...] = ()) -> str:
    """The series of windows of `window` ms, or of single panes where these are longer; of all requests, or of
    each one of `segments`.

    The columns are those of `columns`. A metric is NULL where it has no value, a count and any other sum 0. A
    series without predictions has a row all the same: it may have counts.
    """
    windows = Windows(database, window, segments)
    sums = [summed(_inside(name), _sum_of_row(name)) for name in _SUMS]
    stated = [
        *(f"{quoted(_inside(name))} AS {quoted(name)}" for name in _PLAIN),
        *(f"{sql} AS {quoted(name)}" for metric in _RATIOS for name, sql in _of_ratio(metric).items()),
        *(f"{_by_cut_off(metric)} AS {quoted(metric.name)}" for metric in _AT_CUT_OFFS),
        *(quoted(each.name) for each in _STATISTICS),
    ]
    return f"""\
SELECT
    pane, seconds, {windows.series},
    {", ".join(stated)},
    {final_of(windows)} AS final
FROM
    {windows.series_of(*sums, BY_CUT_OFF, *_STATISTICS)}"""


def columns() -> dict[str, str]:
    """The columns beyond those that tell series apart, with their types: sums, metrics, and the bounds of
    those that have an interval as `…_lower` and `…_upper`; then `final`."""
    found = dict.fromkeys(_PLAIN, NUMBER)
    for metric in _RATIOS:
        type_ = f"Nullable({NUMBER})" if metric.denominator else NUMBER
        found |= dict.fromkeys(_of_ratio(metric), type_)
    found |= {metric.name: f"Map(UInt32, Nullable({NUMBER}))" for metric in _AT_CUT_OFFS}
    return found | {each.name: f"Nullable({NUMBER})" for each in _STATISTICS} | {"final": "Bool"}


def _of_ratio(metric: Ratio) -> Mapping[str, str]:
    """The columns of a metric, with their SQL."""
    numerator = _added(metric.numerator)
    if not metric.denominator:
        return {metric.name: numerator}
    denominator = _added(metric.denominator)
    found = {metric.name: f"({numerator}) / nullIf({denominator}, 0)"}
    if metric.adds is not Adds.AMOUNTS:
        lower, upper = formulas.wilson(numerator, denominator)
        found |= {f"{metric.name}_lower": lower, f"{metric.name}_upper": upper}
    return found


def _by_cut_off(metric: Ratio) -> str:
    """A metric with a cut-off, for each k that the numerator's sums have."""
    [added], [divided] = metric.numerator, metric.denominator
    begin, below = stem(added), stem(divided if divided.endswith(CUT_OFF) else divided + CUT_OFF)
    total = BY_CUT_OFF.name
    k = f"substring(name, {len(begin) + 1})"
    value = f"{total}[name] / nullIf({total}[concat('{below}', {k})], 0)"
    names = f"arrayFilter(name -> startsWith(name, '{begin}'), mapKeys({total}))"
    return (
        f"CAST(arrayMap(name -> (toUInt32OrZero({k}), {value}), {names}), 'Map(UInt32, Nullable({NUMBER}))')"
    )


def _added(names: tuple[str, ...]) -> str:
    return " + ".join(SECONDS if name == SECONDS else quoted(_inside(name)) for name in names)


def _inside(name: str) -> str:
    """What a sum is called within the query: some are called like a metric that divides them."""
    return f"sum of {name}"


def _sum_of_row(name: str) -> str:
    if place := _OF_QUALITY.get(name):
        return f"toFloat64(arraySum(list -> list[{place}], mapValues(quality)))"
    return f"sums['{name}']"
