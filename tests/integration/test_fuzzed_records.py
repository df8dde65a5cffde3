"""100,000 broken records through the real broker and stages: none stops them, and each is a dead letter or an
event."""

from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas import policies
from schemas.settings import Settings
from schemas.topics import EVENTS
from streams.log import Output
from tests.oracle import fuzz, stages
from tests.oracle.traffic import Views, wait_until

SENT = 100_000


@pytest.mark.soak
def test_every_fuzzed_record_that_is_no_event_is_a_dead_letter_once(
    tmp_path: Path, settings: Settings
) -> None:
    stages.prepare(tmp_path, settings, policies.default("a"), policies.default("b"))
    records, output = fuzz.records(2, SENT), Output(settings)
    for topic in EVENTS:
        for raw in records[topic]:
            assert raw.value is not None
            output.send(topic, raw.key, raw.value, timestamp=raw.timestamp)
    output.flush()
    bad = sum(not fuzz.is_event(topic, raw) for topic in EVENTS for raw in records[topic])
    views = Views(settings)
    with stages.running(tmp_path, settings) as running:
        wait_until(lambda: letters(views) >= bad)
        assert letters(views) == bad
        assert "Traceback" not in running.log.read_text()


def letters(views: Views) -> int:
    """Dead letters by where the record stood; -1 while there is no view."""
    try:
        [[count]] = views.query(
            "SELECT uniqExact(topic, partition, offset) FROM dead_letters WHERE stage = 'join'"
        )
    except (ClickHouseError, OSError):
        return -1
    return int(str(count))
