"""A line of a recording that `scan.py` has left: what it says, or what is wrong with it."""

import base64
import binascii
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from schemas.errors import HeadgateError
from schemas.reasons import reason
from schemas.records import Count
from streams.columns import Row

EXPECTED = 'expected {"topic":…, "value":{…}} with, perhaps, timestamp, partition, offset, key, headers'


class Envelope(msgspec.Struct):
    """A line. Of `value` and `value_base64` (bytes that are no JSON) it has one. A `key` that is null is that
    of a record without one; where there is none in the line, it is taken for the request_id.
    """

    topic: str
    value: Raw | UnsetType = UNSET
    value_base64: str | None = None
    timestamp: Count | None = None
    partition: Count | None = None
    offset: Count | None = None
    key: str | UnsetType | None = UNSET
    headers: dict[str, str] | None = None


class Line(NamedTuple):
    """What it says: the topic as it is called there, and the record; its `timestamp` and `offset` are -1
    where they are not in the line, as is `partition`. `keyless`: it says that there is no key.
    """

    topic: str
    partition: int
    row: Row
    keyless: bool


_DECODER = msgspec.json.Decoder(Envelope)


def read(line: bytes, place: str) -> Line:
    """Reads a line that stands at `place` (file:number). Raises `HeadgateError` for what is no record."""
    try:
        found = _DECODER.decode(line)
    except msgspec.DecodeError as error:
        raise HeadgateError(f"{place}: {reason(error, line, Envelope)}; {EXPECTED}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise HeadgateError(f"{place}: {error}; {EXPECTED}") from error
    headers = [(name, text.encode()) for name, text in (found.headers or {}).items()]
    key = found.key.encode() if isinstance(found.key, str) else None
    row = Row(_or_absent(found.offset), _or_absent(found.timestamp), key, _value(found, place), headers)
    return Line(found.topic, _or_absent(found.partition), row, found.key is None)


def verify(line: bytes, place: str) -> None:
    """Raises `HeadgateError` where a line is no JSON, though `scan.py` has let it pass."""
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HeadgateError(f"{place}: {error}; {EXPECTED}") from error


def _value(found: Envelope, place: str) -> bytes | None:
    if found.value_base64 is not None and found.value is UNSET:
        try:
            return base64.b64decode(found.value_base64, validate=True)
        except binascii.Error as error:
            raise HeadgateError(f"{place}: value_base64: {error}; expected bytes in base64") from error
    if found.value is UNSET or found.value_base64 is not None:
        several = "none" if found.value is UNSET else "both"
        raise HeadgateError(f"{place}: found {several} of value and value_base64; {EXPECTED}")
    value = bytes(found.value)
    return None if value == b"null" else value


def _or_absent(number: int | None) -> int:
    return -1 if number is None else number
