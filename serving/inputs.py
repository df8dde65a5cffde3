"""A request's `inputs`, from JSON to rows: one array an ONNX input, one row an item. What is wrong with them
is found here, before the batch."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Raw

from schemas.records import Request
from serving.repository import MOST_DIMENSIONS, Input

Rows = dict[str, npt.NDArray[Any]]
"""ONNX input name → [items, …]."""


MOST_BYTES = 256 << 20
"""Of an input that is one row for all items: it is short in JSON, however many they are."""


class InputError(ValueError):
    """A request that its model cannot take: which input, what was found, what was expected."""


def _decoders(kind: Any) -> list[msgspec.json.Decoder[Any]]:
    decoders = []
    for _ in range(MOST_DIMENSIONS + 1):
        decoders.append(msgspec.json.Decoder(kind))
        kind = list[kind]
    return decoders


_DECODERS = {"f": _decoders(float), "i": _decoders(int), "u": _decoders(int), "b": _decoders(bool)}
"""By numpy's kind of the dtype and by depth of nesting: types are checked while the JSON is read."""


def rows(request: Request, declared: Mapping[str, Input]) -> Rows:
    """The rows of `request` for a model with the `declared` inputs; inputs that it does not know are ignored.

    Raises `InputError` where there are no items, or too many for one row, an input is missing, or its type,
    shape, number of rows or range is wrong.
    """
    count = len(request.items or ())
    if count == 0:
        raise InputError("items: found none, expected at least one candidate")
    given = request.inputs or {}
    for name in declared:
        if name not in given:
            raise InputError(
                f"inputs.{name}: missing, expected one row for each of {count} items, or one for all"
            )
    return {name: _tensor(name, given[name], tensor, count) for name, tensor in declared.items()}


def _tensor(name: str, raw: Raw, declared: Input, count: int) -> npt.NDArray[Any]:
    text = bytes(raw)
    dtype = np.dtype(declared.dtype)
    depth = _depth(text)
    if depth > len(declared.shape):
        raise InputError(
            f"inputs.{name}: found {depth} levels of brackets, expected {_expected(declared, count)}"
        )
    try:
        array = _array(_DECODERS[dtype.kind][depth].decode(text), dtype)
    except (msgspec.DecodeError, OverflowError) as error:
        raise InputError(f"inputs.{name}: {error}; expected {dtype.name}") from error
    except ValueError as error:
        raise InputError(
            f"inputs.{name}: found rows of different lengths, expected {_expected(declared, count)}"
        ) from error
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"inputs.{name}: found a number beyond {dtype.name}, expected finite ones")
    return _fit(name, array, declared, count)


def _array(values: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype.kind != "f":
        return np.array(values, dtype)
    with np.errstate(over="ignore"):  # what does not fit into 32 bits becomes infinite, and is refused
        return np.array(values, dtype)


def _fit(name: str, array: npt.NDArray[Any], declared: Input, count: int) -> npt.NDArray[Any]:
    """One row an item as it is, one row for all items repeated. Where a row is one number its own brackets
    may be left out."""
    row = declared.row
    if array.shape == (count, *row):
        return array
    single = math.prod(row) == 1
    if array.shape in (row, (1, *row)) or (single and array.size == 1):
        if count * array.nbytes > MOST_BYTES:
            raise InputError(
                f"inputs.{name}: found one row for {count:,} items, which is "
                f"{count * array.nbytes >> 20:,} MiB, expected at most {MOST_BYTES >> 20}; "
                "ask for fewer items at a time"
            )
        return np.repeat(array.reshape(1, *row), count, axis=0)
    if single and array.shape == (count,):
        return array.reshape(count, *row)
    raise InputError(f"inputs.{name}: found shape {list(array.shape)}, expected {_expected(declared, count)}")


def _expected(declared: Input, count: int) -> str:
    return f"{[count, *declared.row]} (one row an item) or {list(declared.row)} (one for all)"


def _depth(text: bytes) -> int:
    """How deeply a JSON value is nested, by the brackets it opens with."""
    depth = 0
    for byte in text:
        if byte == 0x5B:
            depth += 1
        elif byte not in b" \t\r\n":
            break
    return depth
