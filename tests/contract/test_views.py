"""ClickHouse's views show what the contract's sections 3 and 4 say: on the real engine, against an
independent computation."""

import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import clickhouse_connect
import msgspec
import numpy as np
import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse import BY_RECORD, TABLES, Stored, Table
from schemas.records import (
    Ack,
    Alert,
    CommandRecord,
    DeadLetter,
    Pane,
    PolicyRecord,
    Progress,
    Release,
    Sample,
)
from schemas.settings import Settings
from streams.metrics import evaluate
from streams.metrics import tallies as monoid
from streams.storage import NAMES, migrate
from streams.storage.writer import Writer
from tests.contract.view_oracle import QUANTILES, Pair, Row, Series, Snapshot, held, rows, snapshot, tallies

NOON = 1_700_049_600_000
"""2023-11-15 12:00 UTC."""
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000

COLUMNS = ["pane", "seconds", "model", "version", "arm", "metric", "value"]
COLUMNS += ["numerator", "denominator", "lower", "upper", "final"]


class Database:
    """A database of its own, to write records into and to read views of."""

    def __init__(self, settings: Settings) -> None:
        self.writer = Writer(settings.clickhouse)
        self.client: Client = clickhouse_connect.get_client(
            **settings.clickhouse.connect(), autogenerate_session_id=False
        )
        self.name = settings.clickhouse.database
        migrate(self.client, self.name)
        self.client.database = self.name

    def close(self) -> None:
        self.client.command(f"DROP DATABASE {self.name}")
        self.client.close()
        self.writer.close()

    def write(self, *records: msgspec.Struct, topic_partition: int = 0, first: int = 0) -> None:
        """Inserts records as if they stood one after the other in one topic partition, from offset `first`
        on."""
        stored: dict[Table, list[Stored]] = {}
        for offset, record in enumerate(records, first):
            table = BY_RECORD[type(record)]
            stored.setdefault(table, []).append(Stored(record, topic_partition, offset))
        self.writer.write(stored)

    def read(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(query).result_rows]

    def value(self, metric: str, view: str = "metrics") -> object:
        """The value of a metric that has one row in the view."""
        [[value]] = self.read(f"SELECT value FROM {view} WHERE metric = '{metric}'")
        return value


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """A new database, dropped in the end."""
    name = f"views_{uuid4().hex[:8]}"
    own = msgspec.structs.replace(settings.clickhouse, database=name)
    database = Database(msgspec.structs.replace(settings, clickhouse=own))
    yield database
    database.close()


@pytest.fixture(scope="module")
def emptied(settings: Settings) -> Iterator[Database]:
    with opened(settings) as database:
        yield database


@pytest.fixture
def database(emptied: Database) -> Database:
    """A database without rows."""
    for table in TABLES:
        emptied.client.command(f"TRUNCATE TABLE {table.full_name(emptied.name)}")
    return emptied


def pane(start: int = NOON, length: int = 10 * SECOND, wait: int = MINUTE, **fields: object) -> Pane:
    """A pane of `ranker` v1, which is final `wait` ms after its end, but for `fields`."""
    values: dict[str, object] = {
        "model": "ranker",
        "version": "v1",
        "arm": "stable",
        "segment": "",
        "segment_value": "",
        "start": start,
        "end": start + length,
        "generation": 1,
        "partition": 0,
        "part": 0,
        "snapshot": 1,
        "deadline": start + length + wait,
        "sums": {"predictions": 10.0},
    }
    return Pane(**(values | fields))  # type: ignore[arg-type]


def progress(time: int, partition: int = 0, partitions: int = 1, snapshot: int = 1) -> Progress:
    return Progress(partition=partition, partitions=partitions, time=time, clock=time, snapshot=snapshot)


# Against the batch computation


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
    for pane in (one.pane for one in held(chosen)):
        length = max(window, pane.end - pane.start)
        role = (pane.model, pane.version, pane.arm, pane.segment, pane.segment_value)
        series = Series(pane.start // window * window, length / 1000, *role)
        merged.setdefault(series, []).append(monoid.of(pane))
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


# Final


def final(database: Database, view: str = "metrics") -> object:
    [[found]] = database.read(f"SELECT final FROM {view} WHERE metric = 'predictions'")
    return found


DEADLINE = pane().deadline


def test_nothing_is_final_before_anybody_has_reported(database: Database) -> None:
    database.write(pane())
    assert final(database) is False


def test_a_pane_is_final_once_the_progress_is_beyond_its_deadline(database: Database) -> None:
    database.write(pane(), progress(DEADLINE))
    assert final(database) is False
    database.write(progress(DEADLINE + 1, snapshot=2))
    assert final(database) is True


def test_a_pane_is_not_final_while_one_source_partition_lags(database: Database) -> None:
    database.write(pane(), progress(DEADLINE + 1, 0, 2), progress(DEADLINE, 1, 2))
    assert final(database) is False


def test_a_pane_is_not_final_until_every_source_partition_has_reported(database: Database) -> None:
    database.write(pane(), progress(DEADLINE + 1, 0, 2))
    assert final(database) is False
    database.write(progress(DEADLINE + 1, 1, 2))
    assert final(database) is True


def test_progress_in_one_topic_partition_says_nothing_of_the_panes_in_another(database: Database) -> None:
    database.write(pane(), topic_partition=1)
    database.write(progress(DEADLINE + 1), topic_partition=0)
    assert final(database) is False
    database.write(progress(DEADLINE + 1), topic_partition=1)
    assert final(database) is True


def test_an_older_progress_that_comes_late_loses(database: Database) -> None:
    database.write(pane(), progress(DEADLINE + 1, snapshot=9))
    database.write(progress(DEADLINE - 1, snapshot=8))
    assert final(database) is True


def test_a_late_record_counts_in_its_pane_and_does_not_open_it_again(database: Database) -> None:
    late = pane(part=NOON + MINUTE, deadline=DEADLINE + MINUTE, sums={"late": 1})
    database.write(pane(), late, progress(DEADLINE + 1))
    assert final(database) is True


def test_a_minute_is_final_when_its_last_possible_pane_is(database: Database) -> None:
    database.write(pane(), progress(DEADLINE + 1))
    assert (final(database), final(database, "metrics_1m")) == (True, False)
    database.write(progress(NOON + 2 * MINUTE + 1, snapshot=2))
    assert (final(database, "metrics_1m"), final(database, "metrics_1h")) == (True, False)


# The records' views


def policy(psi: float) -> PolicyRecord:
    text = json.dumps({"model": "ranker", "drift": {"psi": psi}})
    return PolicyRecord(model="ranker", ts=NOON, policy=msgspec.Raw(text.encode()), actor="ann")


def alert(status: str, **fields: object) -> Alert:
    values = {"alert_id": "a1", "model": "ranker", "rule": "slow", "severity": "page", "starts_at": NOON}
    return Alert(**values, status=status, **fields)  # type: ignore[arg-type]


SENT: dict[str, msgspec.Struct] = {
    "alerts": alert("resolved", ends_at=NOON + 5, value=1.5, threshold=1.0, labels={"a": "b"}),
    "releases": Release(
        model="ranker", generation=3, ts=NOON, stable="v1", decision_id="d", reason="r", evidence={"x": [1]}
    ),
    "acks": Ack(
        model="ranker", worker="w", ts=NOON, kind="ack", generation=3, status="applied", loaded=["v1"]
    ),
    "commands": CommandRecord(
        model="ranker", ts=NOON, command="start", command_id="c", actor="ann", version="v2"
    ),
    "policies": policy(0.3),
    "samples": Sample(model="ranker", ts=NOON, name="loss", value=0.25, phase="training", labels={"a": "b"}),
    "dead_letters": DeadLetter(
        ts=NOON, topic="acks", partition=1, offset=2, stage="sink", reason="no", key="k"
    ),
}


@pytest.mark.parametrize("view", SENT)
def test_a_records_view_has_the_records_fields_and_nothing_else(database: Database, view: str) -> None:
    record = SENT[view]
    database.write(record)
    result = database.client.query(f"SELECT * FROM {view}")
    assert set(result.column_names) == set(record.__struct_fields__)
    [row] = result.result_rows
    assert [plain(value) for value in row] == [plain(getattr(record, name)) for name in result.column_names]


def plain(value: object) -> object:
    """A value as the view and the record can both be put: times in ms, objects from JSON text, what is absent
    as None."""
    if isinstance(value, datetime):
        return round(value.replace(tzinfo=UTC).timestamp() * 1000)
    if isinstance(value, msgspec.Raw):
        return json.loads(bytes(value))
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value or None


def test_an_alert_is_shown_as_it_stands_last(database: Database) -> None:
    database.write(alert("firing"), alert("resolved", ends_at=NOON + 1))
    database.write(alert("firing"))  # read again, from offset 0
    assert database.read("SELECT status FROM alerts") == [("resolved",)]


def test_a_dead_letter_is_shown_once_per_stage_and_place(database: Database) -> None:
    letters = [
        DeadLetter(ts=NOON + i, topic="t", partition=0, offset=7, stage=stage, reason="r")
        for i, stage in enumerate(["join", "join", "sink"])
    ]
    database.write(*letters)
    assert database.read("SELECT stage FROM dead_letters ORDER BY stage") == [("join",), ("sink",)]


def test_heartbeats_of_one_instant_are_all_shown_and_repeats_once(database: Database) -> None:
    beat = Ack(model="ranker", worker="w", ts=NOON, kind="heartbeat", generation=1)
    database.write(beat, beat)
    database.write(beat, beat)
    assert database.read("SELECT count() FROM acks") == [(2,)]


# Shape and cost


def test_every_view_of_the_contract_is_there(filled: Database) -> None:
    found = filled.read(
        f"SELECT name FROM system.tables WHERE database = '{filled.name}' AND engine = 'View' ORDER BY name"
    )
    assert [name for (name,) in found] == sorted(NAMES)


@pytest.mark.parametrize(
    ("view", "columns"),
    [
        ("metrics", COLUMNS),
        ("metrics_by_segment", [*COLUMNS, "segment", "segment_value"]),
        ("metrics_1m", COLUMNS),
        ("metrics_1h", COLUMNS),
        (
            "drift",
            [
                *("pane", "seconds", "model", "version", "arm", "feature"),
                *("method", "value", "threshold", "drifted", "kind"),
            ],
        ),
    ],
)
def test_a_view_has_the_contracts_columns(filled: Database, view: str, columns: list[str]) -> None:
    described = {name: type_ for name, type_, *_ in filled.read(f"DESCRIBE {view}")}
    assert list(described) == columns
    assert str(described["pane"]).startswith("DateTime64(3")


def test_migrating_again_keeps_everything(database: Database) -> None:
    database.write(pane())
    migrate(database.client, database.name)
    assert database.value("predictions") == 10


def test_a_table_of_an_earlier_version_gets_the_columns_that_came_since(database: Database) -> None:
    database.write(pane())
    database.client.command("ALTER TABLE panes DROP COLUMN quality, DROP COLUMN positive_scores")
    migrate(database.client, database.name)
    assert database.value("predictions") == 10
    database.write(pane(partition=1, quality={"age": [10, 1, 0, 0, 0]}))
    assert database.value("missing_rate") == 0.1


@pytest.fixture(scope="module")
def large(settings: Settings) -> Iterator[Database]:
    """A day of fifty models, in 400,000 snapshots."""
    with opened(settings) as database:
        database.client.command(
            f"INSERT INTO {database.name}.panes"
            " (model, version, arm, segment, segment_value, start, end, generation, partition)"
            " SELECT concat('m', toString(number % 50)), 'v1', 'stable',"
            " if(number % 2, '', 'surface'), 'home',"
            f" fromUnixTimestamp64Milli(toInt64({NOON} + intDiv(number, 100) * 10000)) AS at,"
            " at + toIntervalSecond(10), 1, number % 4 FROM numbers(400000)"
        )
        database.client.command(f"INSERT INTO {database.name}.profiles (model, version) VALUES ('m7', 'v1')")
        yield database


@pytest.mark.parametrize("view", ["metrics", "metrics_by_segment", "metrics_1m", "metrics_1h", "drift"])
def test_a_question_for_one_model_and_hour_reads_only_what_it_needs(large: Database, view: str) -> None:
    """What is asked of a view reaches partitions and primary key, through ARRAY JOIN, GROUP BY and FINAL."""
    hour = NOON // SECOND + 6 * 3600
    plan = large.read(
        f"EXPLAIN indexes = 1 SELECT * FROM {view} WHERE model = 'm7'"
        f" AND pane >= fromUnixTimestamp({hour}) AND pane < fromUnixTimestamp({hour + 3600})"
    )
    text = "\n".join(str(line) for (line,) in plan)
    reads = [part.split("ReadFromMergeTree")[0] for part in text.split(".panes)")[1:]]
    assert reads
    for read in reads:
        granules = [
            (int(selected), int(total)) for selected, total in re.findall(r"Granules: (\d+)/(\d+)", read)
        ]
        assert granules[0][1] > 40
        assert granules[-1][0] <= 3
