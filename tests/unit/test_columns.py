"""Records as columns, and one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.columns import NULL, Records, Row
from streams.varint import encoded, varint

SOME = [
    Row(3, 1_000, b"k", b"value", [("name", b"x"), ("größe", None)]),
    Row(7, 999, None, None, []),
    Row(9, 1_001, b"", b"", [("", b"")]),
]

ROWS = st.lists(
    st.builds(
        Row,
        st.integers(0, 2**63 - 1),
        st.integers(-1, 2**62),
        st.none() | st.binary(max_size=300),
        st.none() | st.binary(max_size=300),
        st.lists(st.tuples(st.text(max_size=9), st.none() | st.binary(max_size=200)), max_size=3),
    ),
    max_size=5,
)


@settings(deadline=None)  # the first call compiles, or loads what is compiled
@given(ROWS)
def test_columns_give_back_the_records_that_they_were_made_of(rows: list[Row]) -> None:
    records = Records.of(rows)
    assert list(records) == rows
    assert [records[index] for index in range(len(records))] == rows


def test_columns_point_into_the_bytes() -> None:
    records = Records.of(SOME)
    start, end = records.values[0]
    assert records.data[start:end].tobytes() == b"value"
    assert records.values[1].tolist() == [NULL, NULL]
    assert records.headers[:, 1].tolist() == [2, 0, 1]


def test_a_slice_is_a_view_of_the_same_columns() -> None:
    records = Records.of(SOME)
    assert list(records[1:]) == SOME[1:]
    assert np.shares_memory(records[1:].values, records.values)
    assert records[1:].data is records.data


def test_the_records_since_an_offset_begin_with_the_first_that_has_it_or_a_later_one() -> None:
    records = Records.of(SOME)
    offsets = [records.since(offset).offsets.tolist() for offset in (0, 3, 4, 9, 10)]
    assert offsets == [[3, 7, 9], [3, 7, 9], [7, 9], [9], []]


def test_records_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Records.of(SOME).data[0] = 0


def test_a_header_key_that_is_not_text_can_be_read() -> None:
    data = encoded(2) + b"\xff\xfe" + encoded(NULL)
    column = np.zeros(1, np.int64)
    null = np.full((1, 2), NULL, np.int64)
    records = Records(np.frombuffer(data, np.uint8), column, column, null, null, np.array([[0, 1]], np.int64))
    assert records[0].headers == [("\ufffd\ufffd", None)]


@settings(deadline=None)  # the first call compiles, or loads what is compiled
@given(st.integers(-(2**63), 2**63 - 1))
def test_variable_length_integers_come_back(value: int) -> None:
    written = encoded(value)
    data = np.frombuffer(b"\xff" + written, np.uint8)
    assert varint(data, 1, len(data)) == (value, len(data))


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "00"), (-1, "01"), (1, "02"), (-2, "03"), (63, "7e"), (64, "8001"), (300, "d804")],
)
def test_variable_length_integers_are_zigzag_and_little_endian(value: int, written: str) -> None:
    assert encoded(value) == bytes.fromhex(written)


def test_a_variable_length_integer_that_is_cut_off_has_no_next() -> None:
    data = np.frombuffer(encoded(300), np.uint8)
    assert varint(data, 0, 1)[1] == -1
    assert varint(data, 2, 2)[1] == -1
