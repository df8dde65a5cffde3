"""Record batches as a broker sends them, written here with aiokafka's own encoder, against its own
decoder."""

import struct
from collections.abc import Iterable, Sequence

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import HeadgateError
from streams.columns import Row
from streams.transport.wire import RecordBatches

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
CODECS = (0, GZIP, SNAPPY, LZ4, ZSTD)
ALL = 10**9
CRC_AT, ATTRIBUTES_AT, LAST_DELTA_AT, MAX_TIMESTAMP_AT, COUNT_AT, HEADER = 17, 21, 23, 35, 57, 61
CONTROL, LOG_APPEND_TIME = 0x20, 0x08


def batch(
    rows: Sequence[Row], base: int = 0, codec: int = 0, producer: int = -1, transactional: bool = False
) -> bytes:
    """A batch whose records stand at `base` plus their offsets."""
    builder = DefaultRecordBatchBuilder(2, codec, int(transactional), producer, 0, 0, 1 << 30)
    for row in rows:
        builder.append(row.offset, row.timestamp, row.key, row.value, list(row.headers))
    return struct.pack(">q", base) + bytes(builder.build())[8:]


def changed(data: bytes, at: int, format_: str, value: int) -> bytes:
    """With another value in the header, and the CRC that goes with it."""
    new = bytearray(data)
    struct.pack_into(format_, new, at, value)
    struct.pack_into(">I", new, CRC_AT, calc_crc32c(bytes(new[ATTRIBUTES_AT:])))
    return bytes(new)


def marker(base: int, producer: int, type_: int) -> bytes:
    """The control batch that ends a transaction."""
    written = batch([Row(0, 1, struct.pack(">hh", 0, type_), b"\0" * 6, ())], base, producer=producer)
    return changed(written, ATTRIBUTES_AT, ">h", CONTROL | 0x10)


def rows(count: int) -> list[Row]:
    return [Row(n, 1_000 + n, b"%d" % n, b"value %d" % n, []) for n in range(count)]


def offsets(data: bytes, aborted: Iterable[tuple[int, int]] = (), position: int = 0) -> list[int]:
    records = RecordBatches("t-0", data, aborted, position).read(ALL, ALL)
    return [record.offset for record in records]


def ours(data: bytes) -> list[tuple[object, ...]]:
    """What is read here."""
    return [
        (record.offset, record.timestamp, record.key, record.value, record.headers)
        for record in RecordBatches("t-0", data, (), 0).read(ALL, ALL)
    ]


def theirs(data: bytes) -> list[tuple[object, ...]]:
    """What aiokafka reads."""
    found: list[tuple[object, ...]] = []
    records = MemoryRecords(data)
    while records.has_next():
        for record in records.next_batch():
            found.append((record.offset, record.timestamp, record.key, record.value, list(record.headers)))
    return found


ANY_ROW = st.builds(
    Row,
    st.integers(0, 1000),
    st.integers(0, 2**40),
    st.none() | st.binary(max_size=80),
    st.none() | st.binary(max_size=400),
    st.lists(st.tuples(st.text(max_size=9), st.none() | st.binary(max_size=80)), max_size=3),
)
ANY_BATCHES = st.lists(
    st.tuples(
        st.lists(ANY_ROW, min_size=1, max_size=8, unique_by=lambda row: row.offset), st.sampled_from(CODECS)
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)  # the first call compiles, or loads what is compiled
@given(ANY_BATCHES)
def test_what_is_read_is_what_aiokafka_reads(batches: list[tuple[list[Row], int]]) -> None:
    data = b"".join(
        batch(sorted(some), 10_000 * number, codec) for number, (some, codec) in enumerate(batches)
    )
    assert ours(data) == theirs(data)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_read(codec: int) -> None:
    read = RecordBatches("t-0", batch(rows(1_000), codec=codec), (), 0)
    assert list(read.read(ALL, ALL)) == rows(1_000)
    assert read.done


def test_snappy_without_the_java_framing_is_read() -> None:
    import cramjam  # the encoder of aiokafka frames always

    plain = batch(rows(9))
    packed = plain[:HEADER] + bytes(cramjam.snappy.compress_raw(plain[HEADER:]))
    packed = packed[:8] + struct.pack(">i", len(packed) - 12) + packed[12:]
    assert offsets(changed(packed, ATTRIBUTES_AT, ">h", SNAPPY)) == list(range(9))


def test_records_below_the_position_are_left_out() -> None:
    data = batch(rows(5)) + batch(rows(5), 5, LZ4)
    assert offsets(data, position=3) == [3, 4, 5, 6, 7, 8, 9]
    assert offsets(data, position=7) == [7, 8, 9]


def test_offsets_that_compaction_took_are_passed_over() -> None:
    data = batch([rows(9)[2], rows(9)[5]], base=10)
    data = changed(data, LAST_DELTA_AT, ">i", 8)
    read = RecordBatches("t-0", data, (), 10)
    assert read.read(ALL, ALL).offsets.tolist() == [12, 15]
    assert read.position == 19


def test_a_batch_that_compaction_has_emptied_moves_the_position() -> None:
    data = changed(batch(rows(5))[:HEADER], COUNT_AT, ">i", 0)
    data = data[:8] + struct.pack(">i", HEADER - 12) + data[12:]
    read = RecordBatches("t-0", data, (), 0)
    assert len(read.read(ALL, ALL)) == 0
    assert (read.position, read.done) == (5, True)


def test_where_the_broker_stamps_the_time_all_records_of_a_batch_have_its_greatest() -> None:
    data = changed(batch(rows(3)), MAX_TIMESTAMP_AT, ">q", 5_000)
    data = changed(data, ATTRIBUTES_AT, ">h", LOG_APPEND_TIME)
    assert RecordBatches("t-0", data, (), 0).read(ALL, ALL).timestamps.tolist() == [5_000] * 3


def test_a_batch_that_the_fetch_cut_off_is_left_for_the_next() -> None:
    whole, next_ = batch(rows(3)), batch(rows(3), 3)
    for cut in (1, 12, len(next_) - 1):
        read = RecordBatches("t-0", whole + next_[:cut], (), 0)
        assert read.read(ALL, ALL).offsets.tolist() == [0, 1, 2]
        assert (read.position, read.done) == (3, True)


def test_batches_are_read_until_there_are_so_many_records_or_bytes() -> None:
    data = b"".join(batch(rows(10), 10 * number, LZ4) for number in range(4))
    read = RecordBatches("t-0", data, (), 0)
    assert [len(read.read(*most)) for most in ((11, ALL), (ALL, 1), (ALL, ALL))] == [20, 10, 10]
    assert (read.position, read.done) == (40, True)


def test_control_records_are_not_handed_out_and_move_the_position() -> None:
    read = RecordBatches("t-0", batch(rows(2), 0, 0, 7, True) + marker(2, 7, 1), (), 0)
    assert read.read(ALL, ALL).offsets.tolist() == [0, 1]
    assert (read.position, read.done) == (3, True)


def test_records_of_aborted_transactions_are_left_out_from_first_offset_to_marker() -> None:
    data = b"".join(
        [
            batch(rows(2), 0, LZ4, 7, True),  # committed
            marker(2, 7, 1),
            batch(rows(2), 3, LZ4, 7, True),  # aborted
            batch(rows(2), 5, 0, 8, True),  # another producer's, committed
            batch(rows(1), 7),  # in no transaction
            marker(8, 7, 0),
            batch(rows(2), 9, 0, 7, True),  # the first producer's next transaction
            marker(11, 8, 1),
        ]
    )
    assert offsets(data, aborted=[(7, 3)]) == [0, 1, 5, 6, 7, 9, 10]


def test_two_aborted_transactions_of_a_producer_are_both_left_out() -> None:
    data = b"".join(
        [
            batch(rows(1), 0, 0, 7, True),
            marker(1, 7, 0),
            batch(rows(1), 2, 0, 7, True),
            marker(3, 7, 1),
            batch(rows(1), 4, 0, 7, True),
            marker(5, 7, 0),
        ]
    )
    assert offsets(data, aborted=[(7, 4), (7, 0)]) == [2]


def test_a_damaged_batch_is_an_error_that_says_where_and_what_to_do() -> None:
    data = batch(rows(3)) + batch(rows(3), 3)
    damaged = data[:-1] + b"\x7f"
    with pytest.raises(
        HeadgateError, match=r"t-0: the record batch at offset 3 is damaged: its CRC is 0x.*delete"
    ):
        offsets(damaged)


@pytest.mark.parametrize("count", [-1, 2, 4, 10**6])
def test_a_count_that_is_wrong_is_an_error(count: int) -> None:
    with pytest.raises(HeadgateError, match="offset 0 is damaged: its"):
        offsets(changed(batch(rows(3)), COUNT_AT, ">i", count))


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_records_that_cannot_be_decompressed_are_an_error(codec: int) -> None:
    with pytest.raises(HeadgateError, match="offset 0 is damaged: its records cannot be decompressed"):
        offsets(changed(batch(rows(30)), ATTRIBUTES_AT, ">h", codec))


def test_a_codec_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(HeadgateError, match="offset 0 is damaged: its codec is 5"):
        offsets(changed(batch(rows(3)), ATTRIBUTES_AT, ">h", 5))


def test_a_message_format_before_the_second_is_an_error() -> None:
    data = bytearray(batch(rows(3)))
    data[16] = 1
    with pytest.raises(
        HeadgateError, match="found records in message format 1 at offset 0, expected format 2"
    ):
        offsets(bytes(data))


@settings(deadline=None)  # the first call compiles, or loads what is compiled
@given(st.data())
def test_no_damage_to_records_goes_unnoticed_or_beyond_the_bytes(data: st.DataObject) -> None:
    whole = batch([Row(n, n, b"key", b"value" * n, [("name", b"x")]) for n in range(4)], codec=0)
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(HEADER, len(whole) - 1))] = data.draw(st.integers(0, 255))
    patched = changed(bytes(damaged), ATTRIBUTES_AT, ">h", 0)
    read = RecordBatches("t-0", patched, (), 0)
    try:
        records = list(read.read(ALL, ALL))
    except HeadgateError as error:
        assert "its bytes are not the records" in str(error)
    else:
        assert len(records) <= 4
        assert all(record.value is None or len(record.value) <= len(whole) for record in records)
