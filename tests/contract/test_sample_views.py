"""Custom metrics in ClickHouse's views, on the real engine: samples in, rows of `metrics` out."""

import json
import re
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import PolicyRecord, Sample
from streams.metrics import samples
from tests.contract.view_world import COLUMNS, MINUTE, NOON, SECOND, Database, pane, progress


def sample(second: float, value: float, **fields: object) -> Sample:
    """A sample of `ranker`'s `gpu_use`, taken so many seconds after noon, but for `fields`."""
    values: dict[str, object] = {"model": "ranker", "ts": NOON + round(second * SECOND), "name": "gpu_use"}
    return Sample(**(values | {"value": value} | fields))  # type: ignore[arg-type]


def policy(pane: object, offset: int = 0) -> PolicyRecord:
    body = msgspec.Raw(json.dumps({"model": "ranker", "pane": pane}).encode())
    return PolicyRecord(model="ranker", ts=NOON + offset, policy=body, actor="olga")


def shown(
    database: Database, view: str = "metrics", columns: str = "metric, value"
) -> list[tuple[object, ...]]:
    return database.read(f"SELECT {columns} FROM {view} ORDER BY ALL")


def test_a_pane_of_samples_is_a_row_with_their_mean(database: Database) -> None:
    database.write(sample(0, 0.5), sample(9.999, 1.0, version="v2"), sample(3, 1.0), sample(10, 7.0))
    columns = (
        "toUnixTimestamp64Milli(pane), seconds, model, version, arm, metric, value, numerator, denominator"
    )
    assert shown(database, columns=columns) == [
        (NOON, 10.0, "ranker", "", "", "gpu_use", 0.75, 1.5, 2.0),
        (NOON, 10.0, "ranker", "v2", "", "gpu_use", 1.0, 1.0, 1.0),
        (NOON + 10 * SECOND, 10.0, "ranker", "", "", "gpu_use", 7.0, 7.0, 1.0),
    ]


def test_they_stand_beside_the_catalogues_metrics_in_the_same_columns(database: Database) -> None:
    database.write(sample(0, 0.5), pane(), progress(NOON + 2 * MINUTE))
    described = [(name, kind) for name, kind, *_ in database.read("DESCRIBE metrics")]
    assert [name for name, _ in described] == COLUMNS
    assert dict(described)["pane"] == "DateTime64(3, 'UTC')"
    assert dict(described)["final"] == "Bool"
    rows = dict(database.read("SELECT metric, value FROM metrics WHERE metric IN ('gpu_use', 'predictions')"))
    assert rows == {"gpu_use": 0.5, "predictions": 10.0}


def test_a_sample_named_like_a_metric_of_the_catalogue_does_not_touch_that_metric(database: Database) -> None:
    database.write(sample(0, 0.5, name="predictions"), sample(0, 0.25, name="recall@7"), pane())
    rows = database.read(
        "SELECT metric, value FROM metrics WHERE endsWith(metric, 'predictions') ORDER BY metric"
    )
    assert rows == [("predictions", 10.0), ("samples.predictions", 0.5)]
    assert database.value("samples.recall@7") == 0.25


@given(
    st.one_of(
        st.sampled_from(["ctr", "recall@5", "recall@05", "recall@k", "ctr ", "samples.x", "drift_psi"]),
        st.text(),
    )
)
def test_sql_and_the_judge_agree_on_which_names_are_the_catalogues(name: str) -> None:
    matches = re.compile(samples.pattern().replace("$", r"\Z"), re.ASCII).match(name) is not None
    assert (matches or name.startswith(samples.PREFIX)) == samples.reserved(name)
    assert samples.name(samples.metric(name)) == name


@pytest.mark.parametrize(
    ("written", "length"),
    [
        ("1s", 1),
        ("500ms", 0.5),
        ("0.5m", 30),
        (" 2 m ", 120),
        ("1h", 3600),
        ("7s", 10),
        ("soon", 10),
        (5, 10),
    ],
)
def test_panes_are_as_long_as_the_models_policy_says_and_ten_seconds_where_it_says_nothing_sound(
    database: Database, written: object, length: float
) -> None:
    database.write(policy("1m"), policy(written, 1))
    database.write(sample(0, 1.0), sample(length - 0.001, 2.0), sample(length, 3.0))
    database.write(sample(0, 1.0, model="other"))
    rows = shown(database, columns="model, toUnixTimestamp64Milli(pane), seconds, value")
    assert rows == [
        ("other", NOON, 10.0, 1.0),
        ("ranker", NOON, length, 1.5),
        ("ranker", NOON + round(length * SECOND), length, 3.0),
    ]


def test_coarser_windows_are_means_of_samples_not_of_panes(database: Database) -> None:
    database.write(*(sample(second, 1.0) for second in range(9)), sample(30, 11.0))
    for view, seconds in (("metrics_1m", 60.0), ("metrics_1h", 3600.0)):
        assert shown(database, view, "seconds, value, denominator") == [(seconds, 2.0, 10.0)]


def test_phases_and_labels_are_segments_each_by_itself(database: Database) -> None:
    database.write(
        sample(0, 1.0, phase="training", labels={"worker": "w1", "zone": "a"}),
        sample(1, 3.0, phase="serving", labels={"worker": "w1"}),
        sample(2, 8.0, labels={"worker": "w2"}),
    )
    assert shown(database, "metrics_by_segment", "segment, segment_value, value") == [
        ("phase", "serving", 3.0),
        ("phase", "training", 1.0),
        ("worker", "w1", 2.0),
        ("worker", "w2", 8.0),
        ("zone", "a", 1.0),
    ]
    assert shown(database) == [("gpu_use", 4.0)]


def test_beyond_a_hundred_values_of_a_label_the_rest_is_other(database: Database) -> None:
    database.write(*(sample(0, float(step), labels={"step": f"{step:03}"}) for step in range(150)))
    rows = shown(database, "metrics_by_segment", "segment_value, value, denominator")
    assert len(rows) == 101
    assert rows[0] == ("000", 0.0, 1.0)
    assert rows[-1] == ("other", float(np.mean(range(100, 150))), 50.0)


def test_a_sample_that_is_written_twice_counts_once(database: Database) -> None:
    database.write(sample(0, 1.0), sample(1, 3.0))
    database.write(sample(0, 1.0), sample(1, 3.0))
    assert shown(database, columns="value, denominator") == [(2.0, 2.0)]


def test_a_pane_is_final_a_minute_after_its_end(database: Database) -> None:
    now = time.time_ns() // 1_000_000
    database.write(sample(0, 1.0, ts=now), sample(0, 2.0, ts=now - 2 * MINUTE))
    assert shown(database, columns="value, final") == [(1.0, False), (2.0, True)]
