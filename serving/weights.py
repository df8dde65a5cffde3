"""An ONNX file in two parts, for sessions that are made quickly and beside what serves: its graph, and its
large weights, read into memory of their own. Knows nothing of ONNX Runtime.

ONNX Runtime reads a file into messages in memory, which grow as they are read, and copies the weights out of
them: fresh memory for more than twice the file, which the system has to find and to clear while batches wait
for the processor, all in one go. Weights that are given to it may be read as slowly as one likes. Tables, in
which rows are looked up, it then uses where they are; matrices it packs anew.

A file of which not all is understood is left whole. Its messages are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, in the encoding of
https://protobuf.dev/programming-guides/encoding/.
"""

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from io import FileIO
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serving.pace import PIECE, Rest, restless

LARGE = 1 << 20
"""Bytes from which on a weight is taken out of the graph."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types."""

_LONGEST = 10
"""Bytes of a varint."""

_GRAPH = 7
"""Field of a ModelProto."""
_NODE, _INITIALIZER = 1, 5
"""Fields of a GraphProto."""
_INPUT, _OP_TYPE = 1, 4
"""Fields of a NodeProto."""
_LOOKUP = b"Gather"
"""The operator whose first input is a table."""
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 1, 2, 8, 9, 13, 14
"""Fields of a TensorProto."""
_KEY, _VALUE = 1, 2
"""Fields of a StringStringEntryProto."""
_EXTERNAL = 1
"""A data location."""

_DTYPES = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8",
    12: "<u4", 13: "<u8",
}  # fmt: skip
"""TensorProto.DataType as numpy calls it, where numpy has it."""

Weights = Mapping[str, npt.NDArray[np.generic]]
"""Initializer → its value."""


class Place(NamedTuple):
    """Where in a file a weight lies: its first byte; its type and shape; whether rows are looked up in it,
    and nothing else is done with it."""

    first: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    is_table: bool


class Parts(NamedTuple):
    """A model without its large weights, serialized; where those are, by initializer. The graph calls them
    external, and names these places in the file."""

    graph: bytes
    places: Mapping[str, Place]


class _Field(NamedTuple):
    """A field of a message: its number and wire type; where its tag, and where its content begin and end; its
    value, of a varint."""

    number: int
    wire: int
    start: int
    first: int
    end: int
    value: int = 0


class _Large(NamedTuple):
    """A weight that is to leave the graph: its name, its place, and the message that stays in its stead."""

    name: str
    place: Place
    left: bytes


class _OtherwiseError(ValueError):
    """Something in a file that is not dealt with here."""


class _File:
    """Bytes by their places."""

    def __init__(self, opened: FileIO, name: str) -> None:
        self._number = opened.fileno()
        self.name = name
        self.size = os.fstat(self._number).st_size

    def read(self, first: int, end: int) -> bytes:
        found = os.pread(self._number, end - first, first)
        if len(found) != end - first:
            raise _OtherwiseError
        return found


def taken_apart(file: Path) -> Parts | None:
    """A file's parts; None where there is nothing large in it, or something that is not understood. Raises
    `OSError` where it cannot be read."""
    if file.stat().st_size < LARGE:
        return None
    with file.open("rb", buffering=0) as opened:
        try:
            return _apart(_File(opened, file.resolve().name))
        except (_OtherwiseError, UnicodeDecodeError):
            return None


def read(file: Path, places: Mapping[str, Place], rest: Rest = restless) -> Weights:
    """The weights at `places` of a file; `rest` is called between pieces. Raises `OSError` where the file
    cannot be read, and `EOFError` where it has become too short."""
    weights: dict[str, npt.NDArray[np.generic]] = {}
    with file.open("rb", buffering=0) as opened:
        for name, place in places.items():
            weights[name] = np.empty(place.shape, place.dtype)
            content = weights[name].reshape(-1).view(np.uint8).data
            opened.seek(place.first)
            while content:
                count = opened.readinto(content[:PIECE])
                if not count:
                    raise EOFError(f"{file}: found its end within the weight {name}, expected all of it")
                content = content[count:]
                rest()
    return weights


def _apart(file: _File) -> Parts | None:
    graphs = [field for field in _fields(file, 0, file.size) if field.number == _GRAPH]
    if len(graphs) != 1:
        raise _OtherwiseError
    graph, pieces, places = graphs[0], list[bytes](), dict[str, Place]()
    fields = list(_fields(file, graph.first, graph.end))
    tables = _tables(file, [field for field in fields if field.number == _NODE])
    at = graph.first
    for field in fields:
        if field.number != _INITIALIZER:
            continue
        large = _large(file, field, tables)
        if large is not None:
            places[large.name] = large.place
            pieces += [file.read(at, field.start), _message(_INITIALIZER, large.left)]
            at = field.end
    if not places:
        return None
    body = b"".join([*pieces, file.read(at, graph.end)])
    return Parts(file.read(0, graph.start) + _message(_GRAPH, body) + file.read(graph.end, file.size), places)


def _tables(file: _File, nodes: Sequence[_Field]) -> set[str]:
    """What rows are looked up in, and nothing else is done with."""
    tables, others = set[bytes](), set[bytes]()
    for node in nodes:
        fields = list(_fields(file, node.first, node.end))
        inputs, kinds = (
            [file.read(field.first, field.end) for field in fields if field.number == number]
            for number in (_INPUT, _OP_TYPE)
        )
        lookups = int(kinds == [_LOOKUP])
        tables.update(inputs[:lookups])
        others.update(inputs[lookups:])
    return {name.decode() for name in tables - others}


def _large(file: _File, message: _Field, tables: Container[str]) -> _Large | None:
    """What is to be taken out of an initializer; None where it stays as it is."""
    dims: list[int] = []
    name, dtype, raw = "", 0, None
    for field in _fields(file, message.first, message.end):
        if field.number == _DIMS and field.wire == _BYTES:
            at = field.first
            while at < field.end:
                dim, at = _varint(file, at, field.end)
                dims.append(dim)
        elif field.number == _DIMS:
            dims.append(field.value)
        elif field.number == _DATA_TYPE:
            dtype = field.value
        elif field.number == _NAME:
            name = file.read(field.first, field.end).decode()
        elif field.number == _RAW_DATA:
            raw = field
        elif field.number == _DATA_LOCATION and field.value == _EXTERNAL:
            raise _OtherwiseError  # in a file beside this one, which is found by this one's path alone
    if raw is None or raw.end - raw.first < LARGE or dtype not in _DTYPES:
        return None
    kind = np.dtype(_DTYPES[dtype])
    if prod(dims) * kind.itemsize != raw.end - raw.first:
        raise _OtherwiseError
    place = {"location": file.name, "offset": str(raw.first), "length": str(raw.end - raw.first)}
    left = [
        file.read(message.first, raw.start),
        file.read(raw.end, message.end),
        *(
            _message(_EXTERNAL_DATA, _message(_KEY, key.encode()) + _message(_VALUE, text.encode()))
            for key, text in place.items()
        ),
        _encoded(_DATA_LOCATION << 3 | _VARINT) + _encoded(_EXTERNAL),
    ]
    return _Large(name, Place(raw.first, kind, tuple(dims), name in tables), b"".join(left))


def _fields(file: _File, at: int, end: int) -> Iterator[_Field]:
    """The fields of the message from `at` to `end`."""
    while at < end:
        start = at
        tag, at = _varint(file, at, end)
        number, wire, value = tag >> 3, tag & 7, 0
        first = at
        if wire == _VARINT:
            value, at = _varint(file, at, end)
        elif wire == _BYTES:
            length, first = _varint(file, at, end)
            at = first + length
        elif wire in (_FIXED32, _FIXED64):
            at += 4 if wire == _FIXED32 else 8
        else:
            raise _OtherwiseError
        if at > end:
            raise _OtherwiseError
        yield _Field(number, wire, start, first, at, value)


def _varint(file: _File, at: int, end: int) -> tuple[int, int]:
    """A number, and where the next thing begins."""
    number = 0
    for place, byte in enumerate(file.read(at, min(end, at + _LONGEST))):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise _OtherwiseError


def _encoded(number: int) -> bytes:
    """As a varint."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _message(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    return _encoded(number << 3 | _BYTES) + _encoded(len(content)) + content
