"""An ONNX file in two parts, for sessions that are made quickly: its graph, and its large weights as they lie
in the file. Pure but for reading it; knows nothing of ONNX Runtime.

ONNX Runtime reads a file into messages in memory, which grow as they are read, and copies the weights out of
them: fresh memory for more than twice the file, which the system has to find and to clear while batches wait
for the processor. Given the weights apart it copies them once, from the system's cache of the file.

A file of which not all is understood is left whole. Its messages are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, in the encoding of
https://protobuf.dev/programming-guides/encoding/.
"""

import mmap
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LARGE = 1 << 20
"""Bytes from which on a weight is taken out of the graph."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types."""

_GRAPH = 7
"""Field of a ModelProto."""
_INITIALIZER = 5
"""Field of a GraphProto."""
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

_BUFFER = bytearray(LARGE)
"""What is read into it is of no interest: it is the same for all, and stays in the processor's cache."""

Weights = Mapping[str, npt.NDArray[np.generic]]
"""Initializer → its value, in the file's own memory."""


class Parts(NamedTuple):
    """A model without its large weights, serialized, which it names as external; and those."""

    graph: bytes
    weights: Weights


class _Field(NamedTuple):
    """A field of a message: its number and wire type; where its tag, and where its content begin and end; its
    value, of a varint."""

    number: int
    wire: int
    start: int
    first: int
    end: int
    value: int = 0


class _Tensor(NamedTuple):
    """A weight that is to leave the graph: its name, its value, and the message that stays in its place."""

    name: str
    value: npt.NDArray[np.generic]
    left: bytes


class _OtherwiseError(ValueError):
    """Something in a file that is not dealt with here."""


def taken_apart(file: Path) -> Parts | None:
    """A file's parts; None where there is nothing large in it, or something that is not understood.

    The weights are the file: it is mapped for as long as any of them is kept, and must not be cut meanwhile.
    Raises `OSError` where it cannot be read.
    """
    if file.stat().st_size < LARGE:
        return None
    with file.open("rb", buffering=0) as opened:
        # A page of a map that a disk or a server fails to bring ends the process; a read only raises. What
        # has been read is in the system's cache a moment later.
        while opened.readinto(_BUFFER):
            pass
        content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return _apart(content)
    except (_OtherwiseError, UnicodeDecodeError):
        return None


def _apart(content: mmap.mmap) -> Parts | None:
    graphs = [field for field in _fields(content, 0, len(content)) if field.number == _GRAPH]
    if len(graphs) != 1:
        raise _OtherwiseError
    graph, pieces, weights = graphs[0], list[bytes](), dict[str, npt.NDArray[np.generic]]()
    at = graph.first
    for field in _fields(content, graph.first, graph.end):
        if field.number != _INITIALIZER:
            continue
        tensor = _tensor(content, field)
        if tensor is not None:
            weights[tensor.name] = tensor.value
            pieces += [content[at : field.start], _message(_INITIALIZER, tensor.left)]
            at = field.end
    if not weights:
        return None
    body = b"".join([*pieces, content[at : graph.end]])
    return Parts(content[: graph.start] + _message(_GRAPH, body) + content[graph.end :], weights)


def _tensor(content: mmap.mmap, message: _Field) -> _Tensor | None:
    """What is to be taken out of an initializer; None where it stays as it is."""
    dims: list[int] = []
    name, dtype, raw = "", 0, None
    for field in _fields(content, message.first, message.end):
        if field.number == _DIMS and field.wire == _BYTES:
            at = field.first
            while at < field.end:
                dim, at = _varint(content, at, field.end)
                dims.append(dim)
        elif field.number == _DIMS:
            dims.append(field.value)
        elif field.number == _DATA_TYPE:
            dtype = field.value
        elif field.number == _NAME:
            name = content[field.first : field.end].decode()
        elif field.number == _RAW_DATA:
            raw = field
        elif field.number == _DATA_LOCATION and field.value == _EXTERNAL:
            raise _OtherwiseError  # in a file beside this one, which is found by this one's path alone
    if raw is None or raw.end - raw.first < LARGE or dtype not in _DTYPES:
        return None
    kind = np.dtype(_DTYPES[dtype])
    if prod(dims) * kind.itemsize != raw.end - raw.first:
        raise _OtherwiseError
    value = np.frombuffer(content, kind, prod(dims), raw.first).reshape(dims)
    place = {"location": "-", "offset": str(raw.first), "length": str(raw.end - raw.first)}
    left = [
        content[message.first : raw.start],
        content[raw.end : message.end],
        *(
            _message(_EXTERNAL_DATA, _message(_KEY, key.encode()) + _message(_VALUE, text.encode()))
            for key, text in place.items()
        ),
        _encoded(_DATA_LOCATION << 3 | _VARINT) + _encoded(_EXTERNAL),
    ]
    return _Tensor(name, value, b"".join(left))


def _fields(content: mmap.mmap, at: int, end: int) -> Iterator[_Field]:
    """The fields of the message from `at` to `end`."""
    while at < end:
        start = at
        tag, at = _varint(content, at, end)
        number, wire, value = tag >> 3, tag & 7, 0
        first = at
        if wire == _VARINT:
            value, at = _varint(content, at, end)
        elif wire == _BYTES:
            length, first = _varint(content, at, end)
            at = first + length
        elif wire in (_FIXED32, _FIXED64):
            at += 4 if wire == _FIXED32 else 8
        else:
            raise _OtherwiseError
        if at > end:
            raise _OtherwiseError
        yield _Field(number, wire, start, first, at, value)


def _varint(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number, and where the next thing begins."""
    number = shift = 0
    while at < end and shift < 64:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
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
