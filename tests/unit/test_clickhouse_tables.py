"""The ClickHouse tables: every kept record has one, whose rows can replace each other."""

import msgspec
import pytest

from schemas.clickhouse import BY_RECORD, PANES, PROGRESS, TABLES
from schemas.records import TYPES, Ack, Pane, Progress
from schemas.table import Stored, Table
from streams import registry
from streams.metrics.catalogue import METRICS, Metric
from streams.storage.metrics import metrics


def columns(table: Table) -> list[str]:
    return [column.name for column in table.columns]


@pytest.mark.parametrize("topic", registry.reads("sink"), ids=lambda topic: topic.name)
def test_every_record_of_the_sinks_topics_has_a_table(topic: object) -> None:
    types = {Pane, Progress} if TYPES[topic] == Pane | Progress else {TYPES[topic]}  # type: ignore[index]
    assert types <= BY_RECORD.keys()


@pytest.mark.parametrize("record", BY_RECORD, ids=lambda record: record.__name__)
def test_no_field_of_a_record_is_lost_but_users_buckets_reference_bins_and_what_is_taken_apart(
    record: type[msgspec.Struct],
) -> None:
    lost = set(record.__struct_fields__) - set(columns(BY_RECORD[record]))
    assert lost <= {"buckets", "bucket_sums", "score", "history", "outlook"}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_tables_key_and_version_are_columns_of_it(table: Table) -> None:
    assert {*table.order_by, *([table.version] if table.version else [])} <= set(columns(table))


def test_the_key_of_a_pane_is_all_fields_that_identify_its_snapshot() -> None:
    fields = Pane.__struct_fields__
    identity = fields[: fields.index("part") + 1]
    assert set(PANES.order_by) == set(identity)


def test_progress_is_written_after_the_panes_that_it_speaks_of() -> None:
    assert TABLES.index(PANES) < TABLES.index(PROGRESS)


def test_rows_become_columns_in_the_tables_order() -> None:
    table = BY_RECORD[Ack]
    ack = Ack(model="m", worker="w", ts=1_700_000_000_000, kind="ack", generation=3)
    values = table.values([Stored(ack, 2, 7), Stored(ack, 2, 8)])
    assert dict(zip(columns(table), values, strict=True)) == {
        "model": ["m", "m"],
        "worker": ["w", "w"],
        "ts": [1_700_000_000_000] * 2,
        "kind": ["ack", "ack"],
        "generation": [3, 3],
        "status": [None, None],
        "loaded": [[], []],
        "error": [None, None],
        "available": [[], []],
        "topic_partition": [2, 2],
        "topic_offset": [7, 8],
    }


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_of_the_catalogue_is_in_the_metrics_views(metric: Metric) -> None:
    assert f"'{metric.name.replace('@k', '@')}'" in metrics("headgate")


def test_a_database_of_any_name_is_quoted() -> None:
    assert PANES.full_name("a`b") == r"`a\`b`.`panes`"
