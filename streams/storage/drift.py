"""The query behind `drift`: each feature and the score of each pane against its version's reference
profile, what is wrong with their values, and what the change detectors saw in final panes.

`kind` tells three things apart: `data` is what comes in (features), `prediction` what goes out (scores,
errors, latency), `concept` how the one belongs to the other (calibration, log loss, CTR). The formulas are
those of `streams.metrics.drift`, where their sources stand; the detectors are `streams.judge.detectors`'.
"""

from collections.abc import Iterable

from schemas.clickhouse import DRIFT, POLICIES, PROFILES
from schemas.policies import Drift
from schemas.records import QUALITY, SCORE
from streams.metrics.detection import CONCEPT, DETECTORS
from streams.metrics.drift import FLOOR, METHODS, OF_CATEGORIES, OF_NUMBERS, RATES
from streams.storage.windows import MERGED_BY_PARTITION, PANE, Tallied, Windows, start_of


def drift(database: str, window: int = PANE) -> str:
    """Rows of two origins, in one view, of windows of `window` ms, or of single panes where these are longer.

    *Distances and rates*, of each window, final or not: a feature that is not in the profile, or was tallied
    in other bins than it has, has no row; `value` is NULL where nothing was seen, `threshold` where the
    policy has none (of rates). Thresholds are the latest policy's.

    *Detectors*, of each final pane: `feature` is the metric, `value` what it was there, `threshold` NULL,
    `drifted` whether the detector noticed a change; in longer windows, in one of its panes.
    """
    return f"""\
SELECT pane, seconds, model, version, arm, feature, method, value, threshold, drifted, kind FROM
(
{_distances(database, window)}
)
UNION ALL
{_detections(database, window)}"""


def _distances(database: str, window: int) -> str:
    windows = Windows(database, window)
    same_bins = "arrayResize(counts, length(reference))"  # what is not of equal length is filtered, but when?
    return f"""\
WITH
    ({_thresholds(database)}) AS thresholds,
    arrayMap(count -> count / arraySum(counts), {same_bins}) AS live,
    arrayMap(count -> count / arraySum(reference), reference) AS expected,
    arrayCumSum(arrayMap((a, e) -> a - e, live, expected)) AS gaps,
    arraySum(arrayMap((a, e) -> abs(a - e), live, expected)) / 2 AS variation,
    arrayConcat([lowest], edges, [highest]) AS bounds,
    arrayMap(i -> (bounds[i + 2] - bounds[i]) / 2, arrayEnumerate(edges)) AS steps,
    arraySum(counts) > 0 AND arraySum(reference) > 0 AS known
SELECT
    pane, seconds, model, version, arm, feature,
    row.1 AS method,
    row.2 AS value,
    row.3 AS threshold,
    CAST(ifNull(value > threshold, 0), 'Bool') AS drifted,
    if(feature = '{SCORE}', 'prediction', 'data') AS kind
FROM
(
    SELECT
        pane, seconds, {windows.series}, feature,
        counted[feature] AS counts,
        checked[feature] AS flaws
    FROM
    {windows.series_of(*_TALLIED)}
    ARRAY JOIN arrayDistinct(arrayConcat(mapKeys(counted), mapKeys(checked))) AS feature
) AS observed
INNER JOIN
(
    SELECT
        model, version, feature,
        {PROFILES.name}.features[feature] AS reference,
        NOT mapContains({PROFILES.name}.categories, feature) AS ordered,
        {PROFILES.name}.edges[feature] AS edges,
        {PROFILES.name}.lowest[feature] AS lowest,
        {PROFILES.name}.highest[feature] AS highest,
        if(
            mapContains({PROFILES.name}.lowest, feature) AND mapContains({PROFILES.name}.highest, feature),
            {PROFILES.name}.deviation[feature], 0
        ) AS deviation
    FROM {PROFILES.full_name(database)} AS {PROFILES.name} FINAL
    ARRAY JOIN mapKeys({PROFILES.name}.features) AS feature
) AS profile USING (model, version, feature)
ARRAY JOIN CAST(
    arrayConcat({_methods()}, {_rates()}),
    'Array(Tuple(String, Nullable(Float64), Nullable(Float64)))'
) AS row
WHERE length(counts) IN (0, length(reference))"""


_TALLIED = (
    Tallied("counted", "features", "sumForEachMap"),
    Tallied("checked", "quality", "sumForEachMap"),
)

_VALUES: dict[str, str] = {
    "psi": f"""arraySum(
            (a, e) -> (a - e) * log(a / e),
            arrayMap(a -> greatest(a, {FLOOR}), live),
            arrayMap(e -> greatest(e, {FLOOR}), expected)
        )""",
    "js": """sqrt(greatest(0, arraySum(
            (a, e) -> (if(a = 0, 0, a * log2(2 * a / (a + e))) + if(e = 0, 0, e * log2(2 * e / (a + e)))) / 2,
            live, expected
        )))""",
    "ks": "if(ordered, arrayMax(arrayMap(gap -> abs(gap), gaps)), variation)",
    "wasserstein": """if(
            ordered,
            arraySum((gap, step) -> abs(gap) * step, arrayResize(gaps, length(steps)), steps)
            / nullIf(deviation, 0),
            variation
        )""",
}
"""Each of `METHODS` in SQL, of `live` and `expected` proportions."""


def _methods() -> str:
    """An array of rows (method, value, threshold)."""
    rows = (
        f"('{method}', if(known, {_VALUES[method]}, NULL), {_threshold(place, method)})"
        for place, method in enumerate(METHODS, 1)
    )
    return f"[{', '.join(rows)}]"


def _threshold(place: int, method: str) -> str:
    given = f"thresholds[model].{place}"
    return f"if({given} > 0, {given}, {float(getattr(Drift(), method))!r})"


def _rates() -> str:
    """An array of rows (rate, value, no threshold): those that say something of the feature, where values
    were looked at.
    """
    values = f"flaws[{QUALITY.index('values') + 1}]"
    rows = (
        f"('{name}', flaws[{QUALITY.index(flaw) + 1}] / nullIf({values}, 0), NULL,"
        f" {'ordered' if name in OF_NUMBERS else 'NOT ordered' if name in OF_CATEGORIES else 'true'})"
        for name, flaw in RATES.items()
    )
    listed = f"[{', '.join(rows)}]"
    return f"arrayMap(r -> (r.1, r.2, r.3), arrayFilter(r -> r.4 AND notEmpty(flaws), {listed}))"


def _thresholds(database: str) -> str:
    """A map from each model to its latest policy's thresholds, in the order of `METHODS`, 0 where that says
    nothing.
    """
    found = ", ".join(f"JSONExtractFloat(policy, 'drift', '{method}')" for method in METHODS)
    return f"""\
SELECT mapFromArrays(groupArray(model), groupArray(limits)) FROM
    (
        SELECT model, argMax(({found}), topic_offset) AS limits
        FROM {POLICIES.full_name(database)} FINAL
        GROUP BY model
    )"""


def _detections(database: str, window: int) -> str:
    concepts = _listed(CONCEPT)
    values, changed = f"{DRIFT.name}.values", f"{DRIFT.name}.changed"
    return f"""\
SELECT
    pane, seconds, model, version, arm, feature, method,
    sums[1] / nullIf(sums[2], 0) AS value,
    CAST(NULL, 'Nullable(Float64)') AS threshold,
    CAST(has(noticed[feature], method), 'Bool') AS drifted,
    if(feature IN ({concepts}), 'concept', 'prediction') AS kind
FROM
(
    SELECT
        {start_of(window)} AS pane,
        greatest({window}, dateDiff('millisecond', start, end)) / 1000 AS seconds,
        model, version, arm,
        sumForEachMap({values}) AS found,
        groupUniqArrayArrayMap({changed}) AS noticed
    FROM {DRIFT.full_name(database)} AS {DRIFT.name} FINAL
    GROUP BY pane, seconds, model, version, arm
    {MERGED_BY_PARTITION}
)
ARRAY JOIN mapKeys(found) AS feature, mapValues(found) AS sums
ARRAY JOIN [{_listed(DETECTORS)}] AS method"""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
