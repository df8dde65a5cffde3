"""Records of an event topic, scanned as soon as they came, and cut afterwards."""

import pytest

from schemas import topics
from streams.join.events import Events
from streams.join.rows import Scanned
from tests.scanning import SCANS, batch, found

SOME = [
    b'{"request_id":"r%d","ts":1767268800000,"model":"m","version":"v","arm":"stable","status":"ok",'
    b'"latency_ms":1,"items":["a","b%d"]}' % (i, i)
    for i in range(5)
]
VALUES = [*SOME, b"no JSON", *SOME[::-1], b"{}"]
TOPIC = topics.PREDICTIONS


@pytest.fixture
def events() -> Events:
    records = batch(VALUES)
    return Events(records, SCANS[TOPIC](records))


def rows(scanned: Scanned) -> list[dict[str, object] | None]:
    """What each row holds; None of what is no event."""
    return [None if row["fault"] else found(TOPIC, scanned, i) for i, row in enumerate(scanned.rows)]


@pytest.mark.parametrize("which", [slice(3), slice(2, 8), slice(6, None), slice(5, 6), slice(4, 4)])
def test_a_part_is_scanned_as_its_records_are(events: Events, which: slice) -> None:
    part = events.part(which)
    alone = SCANS[TOPIC](batch(VALUES)[which])
    assert [record.value for record in part] == VALUES[which]
    assert rows(part.scanned) == rows(alone)
    assert part.scanned.reasons == alone.reasons


def test_whoever_cuts_events_as_records_gets_events(events: Events) -> None:
    cut = events.since(4)[:3]
    assert isinstance(cut, Events)
    assert len(cut.scanned.rows) == len(cut) == 3
    assert list(cut.scanned.reasons) == [1]
