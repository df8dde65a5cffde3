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
from streams.storage.windows import PANE, READING, Windows, merged, start_of


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
    same_bins = "arrayResize(counts, length(expected))"  # what is not of equal length is filtered, but when?
    return f"""\
WITH
    arrayMap(count -> count / arraySum(counts), {same_bins}) AS live,
    arrayCumSum(arrayMap((a, e) -> a - e, live, expected)) AS gaps,
    arraySum(arrayMap((a, e) -> abs(a - e), live, expected)) / 2 AS variation,
    arraySum(counts) > 0 AND referenced AS known
SELECT
    pane, seconds, model, version, arm, feature,
    method,
    {_value()} AS value,
    {_threshold()} AS threshold,
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
{_references(database)}
) AS profile USING (model, version, feature)
CROSS JOIN (SELECT arrayJoin([{_listed((*METHODS, *RATES))}]) AS method) AS named
WHERE length(counts) IN (0, length(expected)) AND {_said()}"""


def _references(database: str) -> str:
    """Of each feature of each profile what distances are measured with, worked out once: `expected`
    proportions, the `steps` between the bins' middles, whether the bins are `ordered`, the policy's `limits`.
    """
    name = PROFILES.name
    extremes = f"mapContains({name}.lowest, feature) AND mapContains({name}.highest, feature)"
    return f"""\
    WITH
        ({_thresholds(database)}) AS thresholds,
        {name}.features[feature] AS reference,
        {name}.edges[feature] AS edges,
        arrayConcat([{name}.lowest[feature]], edges, [{name}.highest[feature]]) AS bounds
    SELECT
        model, version, feature,
        arrayMap(count -> count / arraySum(reference), reference) AS expected,
        arraySum(reference) > 0 AS referenced,
        NOT mapContains({name}.categories, feature) AS ordered,
        arrayMap(i -> (bounds[i + 2] - bounds[i]) / 2, arrayEnumerate(edges)) AS steps,
        if({extremes}, {name}.deviation[feature], 0) AS deviation,
        thresholds[model] AS limits
    FROM {PROFILES.full_name(database)} AS {name} FINAL
    ARRAY JOIN mapKeys({name}.features) AS feature"""


_TALLIED = (merged("counted", "features"), merged("checked", "quality"))

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


def _value() -> str:
    """What each method or rate comes to: of those not asked for nothing is worked out."""
    values = f"flaws[{QUALITY.index('values') + 1}]"
    found = {method: f"if(known, {_VALUES[method]}, NULL)" for method in METHODS}
    found |= {name: f"flaws[{QUALITY.index(flaw) + 1}] / nullIf({values}, 0)" for name, flaw in RATES.items()}
    cases = ", ".join(f"method = '{name}', {sql}" for name, sql in found.items())
    return f"CAST(multiIf({cases}, NULL), 'Nullable(Float64)')"


def _threshold() -> str:
    """The policy's threshold of a method, or the usual one; rates have none."""
    cases = ", ".join(
        f"method = '{method}', if({given} > 0, {given}, {float(getattr(Drift(), method))!r})"
        for place, method in enumerate(METHODS, 1)
        for given in [f"limits.{place}"]
    )
    return f"CAST(multiIf({cases}, NULL), 'Nullable(Float64)')"


def _said() -> str:
    """Whether a rate says something of the feature, where values were looked at; distances always do."""
    of_numbers, of_categories = _listed(sorted(OF_NUMBERS)), _listed(sorted(OF_CATEGORIES))
    apt = f"multiIf(method IN ({of_numbers}), ordered, method IN ({of_categories}), NOT ordered, true)"
    return f"(method IN ({_listed(METHODS)}) OR (notEmpty(flaws) AND {apt}))"


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
    {READING}
) AS seen
CROSS JOIN (SELECT arrayJoin([{_listed(DETECTORS)}]) AS method) AS named
ARRAY JOIN mapKeys(found) AS feature, mapValues(found) AS sums"""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
