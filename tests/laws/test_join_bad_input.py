"""Whatever bytes lie in the event topics, the join goes on, and every record is counted: as what it is,
or as a dead letter."""

from collections import Counter

from schemas.records import ENCODER, Codec, Pane
from schemas.topics import EVENTS
from streams.join.references import References
from tests.oracle import fuzz, random_streams
from tests.oracle.lives import Move, Read, emitted
from tests.oracle.panes import differences, measure
from tests.oracle.truth import compute

SENT = 100_000
TIMELINE = random_streams.timeline()
PANES: Codec[Pane] = Codec(Pane)


def in_turns(batch: int) -> list[Move]:
    """All of it read in batches, one topic after the other, with output in between."""
    turn: list[Move] = [*(Read(topic, batch) for topic in EVENTS), "emit"]
    return turn * (SENT // batch)


def test_100_000_fuzzed_records_are_each_counted_as_what_they_are_or_as_dead_letters() -> None:
    log = {topic: {0: raws} for topic, raws in fuzz.records(1, SENT).items()}
    profiles = References()
    for profile in random_streams.PROFILES:
        profiles.add(profile)
    panes = emitted(log, 1, TIMELINE, in_turns(500), profiles)
    found = measure(panes)
    total = sum((measured.sums for series, measured in found.items() if not series.segment), Counter[str]())
    good = sum(fuzz.is_event(topic, raw) for topic in EVENTS for raw in log[topic][0])

    assert differences(compute(log, 1, TIMELINE, random_streams.PROFILES), found) == []
    assert [pane for pane in panes if PANES.decode(ENCODER.encode(pane)) != pane] == []
    assert sum(len(partitions[0]) for partitions in log.values()) == SENT
    assert total["dead_letters"] + good == SENT
    assert SENT / 4 < total["dead_letters"] < SENT * 3 / 4
    verdicts = ("predictions", "late", "mispartitioned", "duplicates")
    assert all(total[verdict] for verdict in verdicts), "the fuzz has not all that can happen to a record"
