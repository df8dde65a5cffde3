"""A month of ClickHouse, made where it lies: `INSERT … SELECT FROM numbers`, the same numbers each time.

Fifty models with three versions each (stable, candidate, and a shadow) and panes of 10 s. Traffic falls off
by Zipf's law from `BUSIEST` predictions a pane, and moves with the hour. Histograms are of log-normal
latencies and click delays and of normal log-odds, each bin's count drawn anew for every pane, so that nothing
compresses better than it would. What is random is a hash of the pane's place.

Not the path through Kafka (that is `sink.py`'s), and not how fast anything is (`storage.py`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.clickhouse import ACKS, ALERTS, DEAD_LETTERS, DRIFT, EVIDENCE, PANES, RELEASES, SAMPLES
from schemas.table import Table
from streams.metrics.detection import WATCHED
from streams.metrics.histogram import bin_of as bin_of_time
from streams.metrics.scores import PER_OCTAVE

MODELS = 50
ARMS: Mapping[str, float] = {"stable": 0.8, "candidate": 0.2, "shadow": 0.8}
"""The arms of `v1`, `v2` and `v3`, and their part of their model's predictions."""
BUSIEST = 500
"""Predictions a pane of the busiest model, at a usual hour."""
SEGMENTED = 5
"""So many models, the busiest, are split by surface."""
SURFACES = ("home", "search", "basket", "mail")
FEATURES = ("age", "price", "distance", "visits", "country", "score")
"""With their reference profile; the last is the score."""
BINS = 11
"""Of a feature."""
WORKERS = 2
"""Of each model."""
SHOWN = 10
"""Items of a prediction."""

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
PANE = 10 * SECOND
DEADLINE = 11 * MINUTE
"""From a pane's end."""
HEARTBEAT = 5 * SECOND
DECISION = 6 * HOUR
"""From one record of a release to the next, and from one alert to the next."""


class Insert(NamedTuple):
    """Rows of one table, as SQL, and how many they are."""

    table: Table
    select: Mapping[str, str]
    source: str
    rows: int

    def sql(self, database: str) -> str:
        """The statement."""
        names = ", ".join(f"`{name}`" for name in self.select)
        values = ",\n    ".join(f"{value} AS `_{name}`" for name, value in self.select.items())
        return (
            f"INSERT INTO {self.table.full_name(database)} ({names})\n"
            f"SELECT\n    {values}\nFROM {self.source}"
        )


class Curve(NamedTuple):
    """A histogram's bins, and what part of all values falls into each."""

    bins: Sequence[int]
    parts: Sequence[float]


def _normal(middle: int, deviation: float, step: int = 1) -> Curve:
    """The bins within two and a half deviations of `middle`, both in bins."""
    reach = round(2.5 * deviation)
    bins = range(middle - reach, middle + reach + 1, step)
    heights = [math.exp(-(((each - middle) / deviation) ** 2) / 2) for each in bins]
    return Curve(bins, [height / sum(heights) for height in heights])


PER_LOG = bin_of_time(math.e * 1e6) - bin_of_time(1e6)
"""Bins of times as they grow by the factor e."""
LATENCY = _normal(bin_of_time(25.0), 0.5 * PER_LOG)
CLICK_DELAY = _normal(bin_of_time(8_000.0), 0.9 * PER_LOG, step=2)
NEGATIVE = _normal(-4 * PER_OCTAVE, 1.4 * PER_OCTAVE)
POSITIVE = _normal(-3 * PER_OCTAVE, 1.4 * PER_OCTAVE)
VALUES = Curve(range(BINS), [1 / BINS] * BINS)
TENTHS = Curve(range(8), [0.45, 0.25, 0.13, 0.08, 0.05, 0.02, 0.01, 0.01])


def panes(first: int, last: int, models: int = MODELS, snapshot: int = 1) -> Insert:
    """The final panes of all models that start from event time `first` until `last` (ms), by model, time and
    version."""
    return _panes(first, last, models, ("",), snapshot)


def segments(first: int, last: int, models: int = MODELS, snapshot: int = 1) -> Insert:
    """The same by surface, of the busiest models."""
    return _panes(first, last, min(models, SEGMENTED), SURFACES, snapshot)


def detections(first: int, last: int, models: int = MODELS) -> Insert:
    """What the change detectors saw in each of these panes."""
    values = ", ".join(f"[n * {0.01 + place * 0.3!r}, n]" for place, _ in enumerate(WATCHED))
    changed = "if(seed % 5000 = 0, map('ctr', ['adwin']), map())"
    return _moments(
        DRIFT,
        {
            "model": MODEL,
            "version": "concat('v', toString(place + 1))",
            "arm": f"{_words(ARMS)}[place + 1]",
            "start": _time("moment"),
            "end": _time(f"moment + {PANE}"),
            "values": f"CAST(mapFromArrays({_words(WATCHED)}, [{values}]), {DRIFT_VALUES!r})",
            "changed": f"CAST({changed}, {DRIFT_CHANGED!r})",
            "topic_offset": "moment",
        },
        first, last, PANE, models, len(ARMS),
    )  # fmt: skip


def heartbeats(first: int, last: int, models: int = MODELS) -> Insert:
    """Every worker's word that it is there."""
    return _moments(
        ACKS,
        {
            "model": MODEL,
            "worker": "concat('worker-', toString(place))",
            "ts": _time("moment + seed % 1000"),
            "kind": "'heartbeat'",
            "generation": f"intDiv(moment, {DECISION})",
            "status": "NULL",
            "loaded": "['v1', 'v2', 'v3']",
            "error": "NULL",
            "topic_partition": "0",
            "topic_offset": "moment + place",
        },
        first, last, HEARTBEAT, models, WORKERS,
    )  # fmt: skip


def samples(first: int, last: int, models: int = MODELS) -> Insert:
    """Every worker's use of its GPU."""
    return _moments(
        SAMPLES,
        {
            "model": MODEL,
            "ts": _time("moment + seed % 1000"),
            "name": "'gpu_utilization'",
            "value": "0.5 + 0.1 * (seed % 1000) / 1000",
            "version": "NULL",
            "phase": "'serving'",
            "labels": "map('worker', concat('worker-', toString(place)))",
            "topic_partition": "0",
            "topic_offset": "moment + place",
        },
        first, last, PANE, models, WORKERS,
    )  # fmt: skip


def decisions(first: int, last: int, models: int = MODELS) -> Insert:
    """A record of each model's release every six hours, and what it rests on."""
    evidence = (
        '{"test":"ctr worse_by 0","state":"too few samples","statistic":1.25,"boundary":3.5,"effect":-0.01,'
        '"lower":-0.05,"upper":0.03,"findings":[' + ",".join(['{"test":"error_rate above 0.05"}'] * 20) + "]}"
    )
    return _moments(
        RELEASES,
        {
            "model": MODEL,
            "generation": f"intDiv(moment, {DECISION})",
            "ts": _time("moment"),
            "stable": "'v1'",
            "candidate": "'v2'",
            "shadow": "'v3'",
            "weight": "(seed % 10) / 10",
            "phase": "['stable', 'canary', 'rolled_back'][seed % 3 + 1]",
            "salt": "toString(seed)",
            "decision_id": "hex(seed)",
            "reason": "'step 1 of 2: 0.1 of the traffic'",
            "evidence": repr(evidence),
            "topic_offset": "moment",
        },
        first, last, DECISION, models,
    )  # fmt: skip


def looks(first: int, last: int, models: int = MODELS) -> Insert:
    """What four tests of a running release of each model said, every five seconds."""
    tests = ("ctr worse_by 0", "error_rate above 0.05", "slow_rate worse_by 0.1", "ctr better_by -0.02")
    four = range(len(tests))
    numbers = ("effect", "lower", "upper", "limit", "statistic", "boundary", "needed", "alpha")
    counted = ("judged_value", "judged_samples", "reference_value", "reference_samples")
    return _moments(
        EVIDENCE,
        {
            "model": MODEL,
            "ts": _time("moment"),
            "generation": f"intDiv(moment, {DECISION})",
            "through": _time("moment - 10000"),
            "outcome": "'Running'",
            "cause": "'nothing'",
            "verdict": "'nothing is proven yet'",
            "tests": _words(tests),
            "states": _words(["open"] * len(tests)),
            "fails": _words(["below", "above", "above", ""]),
            "passes": _words(["", "", "", "above"]),
            "judged": _words(["v2"] * len(tests)),
            "reference": _words(["v1"] * len(tests)),
            **{name: f"arrayMap(i -> sin(seed + i), {_listed(four)})" for name in (*numbers, *counted)},
            "topic_offset": "moment",
        },
        first, last, HEARTBEAT, models,
    )  # fmt: skip


def alerts(first: int, last: int, models: int = MODELS) -> Insert:
    """An alert of each model every six hours; the last day's fire."""
    return _moments(
        ALERTS,
        {
            "alert_id": "hex(seed)",
            "model": MODEL,
            "rule": "'slow'",
            "status": f"if(moment >= {last - DAY}, 'firing', 'resolved')",
            "severity": "'page'",
            "starts_at": _time("moment"),
            "ends_at": _time(f"moment + {10 * MINUTE}"),
            "value": "250.",
            "threshold": "200.",
            "labels": "map('metric', 'latency_p99_ms')",
            "annotations": "map('summary', 'latency_p99_ms is 250, above 200')",
            "topic_offset": "moment",
        },
        first, last, DECISION, models,
    )  # fmt: skip


def letters(first: int, last: int, models: int = MODELS) -> Insert:
    """A bad record every ten seconds."""
    return _moments(
        DEAD_LETTERS,
        {
            "ts": _time("moment"),
            "topic": "'feedback.events'",
            "partition": "seed % 4",
            "offset": "moment",
            "stage": "'join'",
            "reason": "'ts: found nothing, expected an integer'",
            "key": "hex(seed)",
            "value": "base64Encode('{}')",
        },
        first, last, PANE, 1,
    )  # fmt: skip


def name(rank: int) -> str:
    """The model's, the busiest being 1."""
    return f"model-{rank:02}"


MODEL = "concat('model-', leftPad(toString(rank), 2, '0'))"
DRIFT_VALUES, DRIFT_CHANGED = (
    column.type for column in DRIFT.columns if column.name in ("values", "changed")
)


def _moments(
    table: Table, select: Mapping[str, str], first: int, last: int, pace: int, models: int, places: int = 1
) -> Insert:
    """Rows of each model, `places` of them at each moment, `pace` apart; by model and time."""
    number = (last - first) // pace
    rows = models * number * places
    source = f"""(
    SELECT
        intDiv(number, {number * places}) + 1 AS rank,
        {first} + {pace} * (intDiv(number, {places}) % {number}) AS moment,
        number % {places} AS place,
        cityHash64(rank, moment, place) AS seed,
        toFloat64(1000 + seed % 100) AS n
    FROM numbers_mt({rows})
)"""
    return Insert(table, select, source, rows)


def _time(milliseconds: str) -> str:
    return f"fromUnixTimestamp64Milli(toInt64({milliseconds}), 'UTC')"


def _panes(first: int, last: int, models: int, values: Sequence[str], snapshot: int) -> Insert:
    whole = values == ("",)
    number = (last - first) // PANE
    rows = models * number * len(ARMS) * len(values)
    source = f"""(
    WITH
        intDiv(number, {number * len(ARMS) * len(values)}) + 1 AS rank,
        {first} + {PANE} * (intDiv(number, {len(ARMS) * len(values)}) % {number}) AS moment,
        number % {len(values)} AS place,
        intDiv(number, {len(values)}) % {len(ARMS)} AS version,
        1 + 0.5 * sin(2 * pi() * moment / {DAY}) AS hour
    SELECT
        rank, moment, place, version,
        cityHash64(rank, moment, place, version) AS seed,
        {_listed(ARMS.values())}[version + 1] / {len(values)} AS part,
        {_drawn(f"{BUSIEST} * part * hour / rank", "intHash64(seed)")} AS n,
        arrayMap(i -> intHash64(seed + i) / 18446744073709551616., range(40)) AS u
    FROM numbers_mt({rows})
)"""
    common = {
        "model": MODEL,
        "version": "concat('v', toString(version + 1))",
        "arm": f"{_words(ARMS)}[version + 1]",
        "segment": "''" if whole else "'surface'",
        "segment_value": f"{_words(values)}[place + 1]",
        "start": _time("moment"),
        "end": _time(f"moment + {PANE}"),
        "generation": f"toInt64(intDiv(moment, {DECISION}))",
        "partition": "0",
        "part": "0",
        "snapshot": str(snapshot),
        "deadline": _time(f"moment + {PANE + DEADLINE}"),
        "retracted": "false",
        "sums": _sums(),
        "latency": _histogram(LATENCY, "n", 1, "toInt32(rank % 20)"),
    }
    answered = f"if(version = 2, 0, n * {SHOWN})"
    scored = {
        "click_delay": _histogram(CLICK_DELAY, f"0.05 * {answered}", 2),
        "positive_scores": _histogram(POSITIVE, f"0.05 * {answered}", 3),
        "negative_scores": _histogram(NEGATIVE, f"0.95 * {answered}", 4),
        "reliability": _reliability(answered),
        "features": _of_features(_counts(VALUES, "n", 5), "Array(UInt64)"),
        "quality": _of_features(
            f"[n, {_drawn('0.01 * n', _chance(6, 'f'))}, {_drawn('0.002 * n', _chance(7, 'f'))}, 0, 0]",
            "Array(UInt64)",
        ),
    }
    return Insert(PANES, common | (scored if whole else {}), source, rows)


def _sums() -> str:
    """The sums of a pane, as floating-point numbers with all their digits where they are means."""
    clicks, relevant = f"round(n * {SHOWN} * (0.04 + 0.02 * u[1]))", "round(n * (0.3 + 0.1 * u[2]))"
    pairs = f"n * {SHOWN}"
    always = {
        "predictions": "n",
        "errors": "round(n * 0.01 * u[3])",
        "slow": "round(n * 0.05 * u[4])",
        "timed": "n - round(n * 0.01 * u[3])",
        "latency_ms": "n * (27 + 3 * u[5])",
        "freshness_ms": "round(n * (5 + u[6]))",
    }
    answered = {
        "impressions": pairs,
        "clicks": clicks,
        "conversions": f"round({clicks} * 0.1 * u[7])",
        "relevant": f"{relevant} + round(n * 0.05 * u[8])",
        "relevant_predictions": relevant,
        "reciprocal_rank": f"{relevant} * (0.4 + 0.05 * u[9])",
        "pairs": pairs,
        "positives": clicks,
        "predicted_positives": f"round({clicks} * u[10])",
        "true_positives": f"round({clicks} * 0.4 * u[10])",
        "correct": f"{pairs} - {clicks}",
        "log_loss": f"{pairs} * (0.2 + 0.01 * u[11])",
        "squared_score_error": f"{pairs} * (0.05 + 0.01 * u[12])",
        "expected_positives": f"{clicks} * (0.95 + 0.1 * u[13])",
    }
    for place, k in enumerate((5, 10)):
        seen = f"(0.6 + {0.2 * place} + 0.1 * u[{14 + place}])"
        answered |= {
            f"hits@{k}": f"round({relevant} * {seen})",
            f"places@{k}": f"{relevant} * {k}",
            f"hit_predictions@{k}": f"round({relevant} * {seen})",
            f"ndcg@{k}": f"{relevant} * {seen} * u[{16 + place}]",
            f"average_precision@{k}": f"{relevant} * {seen} * u[{18 + place}]",
        }
    names = [*always, *answered]
    values = ", ".join(f"toFloat64({value})" for value in [*always.values(), *answered.values()])
    return (
        f"CAST(mapFilter((k, s) -> s > 0 AND (version != 2 OR k IN ({', '.join(map(repr, always))})), "
        f"mapFromArrays({_words(names)}, [{values}])), 'Map(LowCardinality(String), Float64)')"
    )


def _reliability(total: str) -> str:
    pairs = _counts(TENTHS, total, 8)
    made = "[toFloat64(c), c * (t + 0.4 + 0.2 * u[t + 1]) / 10, round(c * (t + 0.3 + 0.4 * u[t + 2]) / 10)]"
    return (
        f"CAST(mapFilter((t, l) -> l[1] > 0, mapFromArrays({_listed(TENTHS.bins)}, "
        f"arrayMap((t, c) -> {made}, {_listed(TENTHS.bins)}, {pairs}))), 'Map(Int32, Array(Float64))')"
    )


def _of_features(value: str, type_: str) -> str:
    """A map with `value`, in which `f` is the feature's number, for each feature."""
    return (
        f"CAST(mapFromArrays({_words(FEATURES)}, arrayMap(f -> {value}, range({len(FEATURES)}))), "
        f"'Map(LowCardinality(String), {type_})')"
    )


def _histogram(curve: Curve, total: str, salt: int, shift: str = "0") -> str:
    """A map of the bins that are not empty."""
    counts = _counts(curve, total, salt)
    bins = f"arrayMap(b -> toInt32(b + {shift}), {_listed(curve.bins)})"
    return (
        f"CAST(mapFromArrays(arrayFilter((b, d) -> d > 0, {bins}, {counts}), "
        f"arrayFilter(d -> d > 0, {counts})), 'Map(Int32, UInt64)')"
    )


def _counts(curve: Curve, total: str, salt: int) -> str:
    """An array of counts drawn for each bin, about `total` together; `f`, where it is used, is a feature."""
    feature = "f" if salt == 5 else "0"
    return (
        f"arrayMap((w, b) -> {_drawn(f'{total} * w', _chance(salt, f'b + {feature} * 64'))}, "
        f"{_listed(curve.parts)}, {_listed(curve.bins)})"
    )


def _chance(salt: int, place: str) -> str:
    return f"intHash64(seed + {salt << 20} + toUInt64({place} + 4096))"


def _drawn(mean: str, chance: str) -> str:
    """A count with a mean and a variance of about `mean`, as a Poisson's; `chance` is a hash of 64 bits, of
    which one half draws the value, the other rounds it."""
    spread = f"least(sqrt({mean}), {mean}) * ({chance} % 65536 / 18918. - 1.732)"
    return f"toUInt64(greatest(0., {mean} + {spread}) + bitShiftRight({chance}, 32) / 4294967296.)"


def _listed(numbers: object) -> str:
    return f"[{', '.join(map(repr, numbers))}]"  # type: ignore[call-overload]


def _words(words: object) -> str:
    return _listed(words)
