"""Inputs: which JSON becomes which rows, and what each mistake is called."""

from collections.abc import Sequence

import msgspec
import pytest

from schemas.records import Item, Request
from serving.inputs import InputError, rows
from serving.repository import Input

DECLARED = {
    "item": Input(dtype="int64", shape=[-1, 1]),
    "context": Input(dtype="float32", shape=["n", 3]),
}


def request(json: str, items: Sequence[Item] | None = (1, 2)) -> Request:
    record = Request(
        request_id="r", ts=1_700_000_000_000, model="m", items=None if items is None else [*items]
    )
    record.inputs = msgspec.json.decode(json, type=dict[str, msgspec.Raw])
    return record


def shaped(value: str, name: str = "context", dtype: str = "float32", row: Sequence[int] = (3,)) -> object:
    declared = {name: msgspec.convert({"dtype": dtype, "shape": [-1, *row]}, Input)}
    return rows(request(f'{{"{name}": {value}}}'), declared)[name].tolist()


def test_one_row_an_item_is_taken_as_it_is() -> None:
    assert shaped("[[1, 2, 3], [4, 5, 6]]") == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("value", ["[1, 2, 3]", "[[1, 2, 3]]", " [ [1,2, 3 ] ] "])
def test_one_row_for_all_items_is_repeated(value: str) -> None:
    assert shaped(value) == [[1, 2, 3], [1, 2, 3]]


def test_one_row_for_more_items_than_there_is_memory_for_is_a_mistake() -> None:
    declared = {"x": msgspec.convert({"dtype": "float32", "shape": [-1, 4_096]}, Input)}
    text = f'{{"x": {[0] * 4_096}}}'
    assert len(rows(request(text, range(16_384)), declared)["x"]) == 16_384
    with pytest.raises(
        InputError, match=r"inputs\.x: found one row for 16,385 items, .*expected at most 256; ask"
    ):
        rows(request(text, range(16_385)), declared)


@pytest.mark.parametrize("value", ["[[8], [9]]", "[8, 9]"])
def test_a_row_of_one_number_needs_no_brackets_of_its_own(value: str) -> None:
    assert shaped(value, dtype="int64", row=(1,)) == [[8], [9]]


@pytest.mark.parametrize("value", ["8", "[8]", "[[8]]"])
def test_one_number_is_one_for_all_items(value: str) -> None:
    assert shaped(value, dtype="int64", row=(1,)) == [[8], [8]]


def test_a_row_may_be_a_plain_number() -> None:
    assert shaped("[8, 9]", dtype="int64", row=()) == [8, 9]


def test_rows_may_be_matrices() -> None:
    assert shaped("[[[1, 2], [3, 4]]]", row=(2, 2)) == [[[1, 2], [3, 4]]] * 2


def test_types_are_those_of_the_manifest() -> None:
    found = rows(request('{"item": [1, 2], "context": [1, 2, 3]}'), DECLARED)
    assert [found["item"].dtype.name, found["context"].dtype.name] == ["int64", "float32"]


def test_an_input_that_the_model_does_not_know_is_ignored() -> None:
    found = rows(request('{"item": [1, 2], "context": [1, 2, 3], "other": "text"}'), DECLARED)
    assert found.keys() == DECLARED.keys()


def test_a_missing_input_is_a_mistake() -> None:
    with pytest.raises(InputError, match=r"inputs\.context: missing"):
        rows(request('{"item": [1, 2]}'), DECLARED)


@pytest.mark.parametrize("items", [None, ()])
def test_a_request_without_items_is_a_mistake(items: Sequence[Item] | None) -> None:
    with pytest.raises(InputError, match="items: found none, expected at least one"):
        rows(request("{}", items), DECLARED)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[[1, 2, 3], [1, 2, 3], [1, 2, 3]]", r"found shape \[3, 3\], expected \[2, 3\]"),
        ("[1, 2]", r"found shape \[2\], expected \[2, 3\]"),
        ("[[1, 2, 3], [1, 2]]", "rows of different lengths"),
        ("[]", r"found shape \[0\]"),
        ("[[[1, 2, 3]]]", "found 3 levels of brackets"),
        ("[" * 100 + "]" * 100, "found 100 levels of brackets"),
        ('["a", 2, 3]', "Expected `float`, got `str`"),
        ("[null, 2, 3]", "Expected `float`, got `null`"),
        ("[true, 2, 3]", "Expected `float`, got `bool`"),
        ('{"a": 1}', "Expected `float`, got `object`"),
        ("[1, 2, [3]]", "Expected `float`, got `array`"),
        ("[1e39, 2, 3]", "found a number beyond float32"),
        ("[1e999, 2, 3]", "Number out of range"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(value: str, reason: str) -> None:
    with pytest.raises(InputError, match=rf"^inputs\.context: .*{reason}"):
        shaped(value)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [("[1.5, 2]", "int64"), ("[300, 2]", "int8"), ("[-1, 2]", "uint8"), ("[1, 0]", "bool")],
)
def test_a_number_that_its_type_cannot_hold_is_a_mistake(value: str, dtype: str) -> None:
    with pytest.raises(InputError, match=rf"expected {dtype}"):
        shaped(value, dtype=dtype, row=())
