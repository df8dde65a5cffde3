"""Several topic partitions as one stream of records, in the order of Kafka's timestamps."""

from schemas.topics import FEEDBACK, REQUESTS
from streams.columns import Records, Row
from streams.replay.merge import Stream, merge


def records(*timestamps: int, first: int = 0) -> Records:
    return Records.of([Row(first + i, at, b"r", b"{}", ()) for i, at in enumerate(timestamps)])


def stream(*timestamps: int, done: bool = True, partition: int = 0) -> Stream:
    found = Stream(FEEDBACK, partition)
    found.put(records(*timestamps))
    found.done = done
    return found


def order(*streams: Stream) -> list[tuple[int, int]]:
    """Partition and offset of what comes next."""
    parts = merge(streams)
    size = sum(len(part.ranks) for part in parts)
    found: list[tuple[int, int]] = [(-1, -1)] * size
    for part in parts:
        for rank, offset in zip(part.ranks.tolist(), part.records.offsets.tolist(), strict=True):
            found[rank] = part.partition, offset
    return found


def test_records_come_in_the_order_of_their_timestamps_and_of_the_streams_where_these_are_equal() -> None:
    one, other = stream(10, 20, 20, 40), stream(5, 20, 30, partition=1)
    assert order(one, other) == [(1, 0), (0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (0, 3)]


def test_a_record_older_than_one_before_it_in_its_partition_comes_right_behind_that() -> None:
    one, other = stream(10, 30, 15), stream(20, 40, partition=1)
    assert order(one, other) == [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1)]


def test_nothing_comes_before_all_that_may_come_earlier_is_read() -> None:
    one, other = stream(10, 20, 30, done=False), stream(5, 15, done=False, partition=1)
    assert order(one, other) == [(1, 0), (0, 0)]
    other.put(records(25, first=2))
    assert order(one, other) == [(1, 1), (0, 1)]


def test_pieces_of_a_partition_stay_one_behind_the_other() -> None:
    one = stream(10, 20)
    one.put(records(20, 20, 30, first=2))
    assert order(one, stream(20, partition=1)) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (0, 4)]


def test_streams_without_records_make_no_parts() -> None:
    empty = Stream(REQUESTS, 0)
    empty.done = True
    assert (merge([empty]), merge([])) == ([], [])
