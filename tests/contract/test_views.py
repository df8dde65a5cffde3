"""Rows of ClickHouse's metric views are what the contract's section 3 says: on the real engine, against an
independent computation."""

import random
from collections.abc import Iterator

import numpy as np
import pytest

from schemas.settings import Settings
from streams.metrics import evaluate
from streams.metrics import tallies as monoid
from tests.contract.view_oracle import QUANTILES, Pair, Row, Series, Snapshot, held, rows, snapshot, tallies
from tests.contract.view_world import DAY, HOUR, MINUTE, NOON, SECOND, Database, opened, pane


def recorded(seed: int) -> list[Snapshot]:
    """Snapshots of two hours of two models: partitions, parts, generations, segments, repeats,
    retractions."""
    chance = random.Random(seed)
    numbers = np.random.default_rng(seed)
    result = []
    for _ in range(600):
        model, length = chance.choice([("ranker", 10 * SECOND), ("ads", 2 * MINUTE)])
        segment = chance.choice(["", "", "surface", "country"])
        start = NOON + chance.randrange(2 * HOUR // length) // 12 * 12 * length
        counted = chance.random() < 0.9
        latencies = numbers.lognormal(3, 1, chance.randrange(60)).tolist() if counted else []
        impressions = chance.randrange(50) if counted else 0
        clicks = chance.randrange(impressions // 2 + 1)
        pairs = [
            Pair(chance.randrange(1, 1024) / 1024, chance.random() < 0.3)
            for _ in range(chance.choice([0, 0, 1, 30]) if counted else 0)
        ]
        sums = {
            "predictions": len(latencies) + chance.randrange(3) if counted else 0,
            "errors": chance.randrange(2) if latencies else 0,
            "slow": sum(value > 50 for value in latencies),
            "impressions": impressions,
            "clicks": clicks,
            "conversions": chance.randrange(clicks + 1),
            "latency_ms": sum(latencies),
            "timed": len(latencies),
            "freshness_ms": chance.randrange(-100, 900) if latencies else 0,
            "late": chance.randrange(2),
            "unmatched": chance.randrange(3),
            **ranked(chance, chance.randrange(8) if counted else 0),
            **labelled(chance, chance.randrange(5) if counted else 0),
        }
        made = pane(
            start,
            length,
            model=model,
            version=chance.choice(["v1", "v2"]),
            arm=chance.choice(["stable", "candidate", "shadow"]),
            segment=segment,
            segment_value=chance.choice(["home", "search"]) if segment else "",
            generation=chance.choice([-1, 1, 2]),
            partition=chance.randrange(2),
            part=chance.choice([0, 0, 0, start + 2 * length]),
            snapshot=chance.randrange(1 << 40),
            retracted=chance.random() < 0.1,
            sums={name: float(value) for name, value in sums.items() if value or "@" in name},
            quality=checked(chance) if counted else {},
            reliability={},
        )
        result.append(snapshot(made, latencies, pairs))
    return result


def ranked(chance: random.Random, predictions: int) -> dict[str, float]:
    """Sums of so many predictions with two relevant items each, at k of 5 and 10."""
    found = {
        "relevant": 2.0 * predictions,
        "relevant_predictions": float(predictions),
        "reciprocal_rank": sum(chance.randrange(1025) / 1024 for _ in range(predictions)),
    }
    for k in (5, 10):
        hits = chance.randrange(2 * predictions + 1)
        found |= {
            f"hits@{k}": hits,
            f"places@{k}": k * predictions,
            f"hit_predictions@{k}": min(hits, predictions),
            f"ndcg@{k}": sum(chance.randrange(1025) / 1024 for _ in range(predictions)),
            f"average_precision@{k}": sum(chance.randrange(1025) / 1024 for _ in range(predictions)),
        }
    return found


def labelled(chance: random.Random, labels: int) -> dict[str, float]:
    """Sums of so many labels of a regression."""
    errors = [chance.randrange(64) / 16 for _ in range(labels)]
    return {
        "labelled": labels,
        "squared_error": sum(error**2 for error in errors),
        "absolute_error": sum(errors),
        "anomalies": sum(error > 1 for error in errors),
    }


def checked(chance: random.Random) -> dict[str, list[int]]:
    """Quality counts of some of two features."""
    return {
        name: [values, *(chance.randrange(values + 1) for _ in range(4))]
        for name in ("age", "city")
        if chance.random() < 0.7
        for values in [chance.randrange(20)]
    }


SNAPSHOTS = recorded(seed=3)


@pytest.fixture(scope="module")
def filled(settings: Settings) -> Iterator[Database]:
    """`SNAPSHOTS`, written in several blocks, a third of them twice."""
    with opened(settings) as database:
        for first in range(0, len(SNAPSHOTS), 100):
            database.write(*(one.pane for one in SNAPSHOTS[first : first + 100]))
        database.write(*(one.pane for one in SNAPSHOTS[::3]))
        yield database


VIEWS = pytest.mark.parametrize(
    ("view", "window", "segmented"),
    [
        ("metrics", 1, False),
        ("metrics_by_segment", 1, True),
        ("metrics_1m", MINUTE, False),
        ("metrics_1h", HOUR, False),
    ],
)


def shown(database: Database, view: str, *, segmented: bool) -> dict[tuple[Series, str], Row]:
    """All rows of a view."""
    extra = ", segment, segment_value" if segmented else ", '', ''"
    found = database.read(
        f"SELECT toUnixTimestamp64Milli(pane), seconds, model, version, arm{extra}, metric,"
        f" value, numerator, denominator, lower, upper FROM {view}"
    )
    keyed = {(Series(*row[:7]), row[7]): Row(*row[8:]) for row in found}
    assert len(keyed) == len(found)
    return keyed


@VIEWS
def test_every_row_equals_a_batch_computation_over_the_snapshots_that_hold(
    filled: Database, view: str, window: int, segmented: bool
) -> None:
    chosen = [one for one in SNAPSHOTS if bool(one.pane.segment) == segmented]
    expected: dict[tuple[Series, str], Row] = {}
    for series, tally in tallies(chosen, window).items():
        for metric, row in rows(series, tally).items():
            if tally.sums["predictions"] or row.numerator:
                expected[series, metric] = row

    found = shown(filled, view, segmented=segmented)

    assert len(expected) > 500
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        tolerance = 0.01 + 1e-9 if key[1] in QUANTILES else 1e-9
        wanted = [value if value is None else pytest.approx(value, rel=tolerance, abs=1e-12) for value in row]
        assert list(found[key]) == wanted, key


@VIEWS
def test_every_row_equals_the_evaluation_that_rules_and_replays_use(
    filled: Database, view: str, window: int, segmented: bool
) -> None:
    chosen = [one for one in SNAPSHOTS if bool(one.pane.segment) == segmented]
    merged: dict[Series, list[monoid.Tally]] = {}
    for whole in (one.pane for one in held(chosen)):
        length = max(window, whole.end - whole.start)
        role = (whole.model, whole.version, whole.arm, whole.segment, whole.segment_value)
        series = Series(whole.start // window * window, length / 1000, *role)
        merged.setdefault(series, []).append(monoid.of(whole))
    expected = {
        (series, metric): numbers
        for series, several in merged.items()
        for metric, *numbers in evaluate.rows(monoid.merge(several), series.seconds)
    }

    found = shown(filled, view, segmented=segmented)

    assert found.keys() == expected.keys()
    for key, numbers in expected.items():
        assert list(found[key]) == [
            value if value is None else pytest.approx(value, rel=1e-12, abs=1e-12) for value in numbers
        ], key


# Which snapshot holds


def test_an_older_snapshot_that_comes_after_a_newer_one_changes_nothing(database: Database) -> None:
    database.write(pane(snapshot=7, sums={"predictions": 70.0}))
    database.write(pane(snapshot=5, sums={"predictions": 50.0}))
    assert database.value("predictions") == 70


def test_the_same_block_twice_is_the_same_as_once(database: Database) -> None:
    block = [pane(partition=i) for i in range(4)]
    database.write(*block)
    database.write(*block)
    assert database.value("predictions") == 40


def test_source_partitions_parts_and_generations_add_up(database: Database) -> None:
    database.write(pane(), pane(partition=1), pane(part=NOON + MINUTE), pane(generation=2))
    assert database.value("predictions") == 40


def test_a_retracted_snapshot_voids_its_key_and_no_other(database: Database) -> None:
    database.write(pane(), pane(partition=1), pane(partition=1, snapshot=2, retracted=True))
    assert database.value("predictions") == 10


def test_a_snapshot_after_a_retraction_holds_again(database: Database) -> None:
    database.write(pane(), pane(snapshot=2, retracted=True), pane(snapshot=3, sums={"predictions": 3.0}))
    assert database.value("predictions") == 3


def test_one_block_may_span_months(database: Database) -> None:
    database.write(*(pane(NOON + day * DAY) for day in range(130)))
    assert database.read("SELECT sum(value) FROM metrics WHERE metric = 'predictions'") == [(1_300.0,)]


# Which rows there are


def test_a_series_with_predictions_has_a_row_for_every_metric(database: Database) -> None:
    database.write(pane(sums={"predictions": 1.0, "relevant": 2.0, "hits@5": 0.0}))
    found = dict(database.read("SELECT metric, value FROM metrics"))
    assert found == {
        "predictions": 1, "errors": 0, "error_rate": 0, "throughput_rps": 0.1, "impressions": 0, "clicks": 0,
        "ctr": None, "conversions": 0, "cvr": None, "recall@5": 0, "precision@5": None, "mrr": None,
        "accuracy": None, "precision": None, "recall": None, "f1": None, "roc_auc": None, "log_loss": None,
        "brier": None, "ece": None, "calibration": None, "mse": None, "mae": None, "anomaly_rate": None,
        "slow_rate": 0, "latency_mean_ms": None, "freshness_ms": 0,
        "latency_p50_ms": None, "latency_p90_ms": None, "latency_p95_ms": None, "latency_p99_ms": None,
        "latency_p999_ms": None, "missing_rate": None, "out_of_range_rate": None, "type_error_rate": None,
        "unseen_rate": None, "late": 0, "duplicates": 0, "expired": 0, "unmatched": 0, "unanswered": 0,
        "skewed": 0, "mispartitioned": 0, "dead_letters": 0, "incomplete": 0,
    }  # fmt: skip


def test_a_series_without_predictions_has_rows_for_what_it_counts_only(database: Database) -> None:
    database.write(pane(version="", arm="", sums={"unmatched": 3.0, "late": 0.0}))
    assert database.read("SELECT metric, value, numerator, denominator FROM metrics") == [
        ("unmatched", 3.0, 3.0, None)
    ]


def test_a_share_of_more_than_everything_has_no_interval(database: Database) -> None:
    """As where impressions are counted by feedback, and clicks come without."""
    database.write(pane(sums={"predictions": 1.0, "impressions": 2.0, "clicks": 3.0}))
    assert database.read("SELECT value, lower, upper FROM metrics WHERE metric = 'ctr'") == [
        (1.5, None, None)
    ]


def test_a_latency_of_zero_is_zero(database: Database) -> None:
    database.write(snapshot(pane(), [0.0, 0.0, 5.0]).pane)
    assert database.value("latency_p50_ms") == 0


def test_segments_are_in_metrics_by_segment_only(database: Database) -> None:
    database.write(pane(), pane(segment="surface", segment_value="home", sums={"predictions": 4.0}))
    assert database.value("predictions") == 10
    assert database.value("predictions", "metrics_by_segment") == 4


# Windows


def test_a_minute_is_the_sum_of_its_panes(database: Database) -> None:
    sums = [
        {"predictions": 10.0, "impressions": 10.0, "clicks": 5.0},
        {"predictions": 1.0, "impressions": 90.0},
    ]
    database.write(pane(sums=sums[0]), pane(NOON + 50 * SECOND, sums=sums[1]))
    assert database.value("ctr", "metrics_1m") == 0.05
    assert database.value("throughput_rps", "metrics_1m") == 11 / 60


def test_panes_longer_than_a_minute_stand_in_metrics_1m_as_they_are(database: Database) -> None:
    database.write(pane(NOON, 5 * MINUTE))
    query = "SELECT toUnixTimestamp64Milli(pane), seconds FROM {} WHERE metric = 'predictions'"
    assert database.read(query.format("metrics_1m")) == [(NOON, 300.0)]
    assert database.read(query.format("metrics_1h")) == [(NOON, 3600.0)]
