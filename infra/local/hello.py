"""The first question of Go clients (Grafana's plug-in among them), which is answered in Native of the
revision that the client announced.

Such a client decodes its hello at its own revision (block info first, then a byte after each column's type
that says whether the column is serialized in a custom way), and everything later at the revision that the
hello answers. chDB writes plain Native, which is revision 0; so that is what it is told.
"""

import struct
from typing import NamedTuple

from infra.local.engine import Query

HELLO = b"SELECT displayName(), version(), revision(), timezone()"

BLOCK_INFO_REVISION = 1
CUSTOM_SERIALIZATION_REVISION = 54454

BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
"""Field 1: no overflow row; field 2: bucket −1; end."""


class Identity(NamedTuple):
    """Who a server says it is."""

    name: str
    version: str
    timezone: str


def is_hello(query: Query) -> bool:
    """Whether this is that question, in the format that clients ask it in."""
    return query.format == "Native" and query.sql.strip().rstrip(b";") == HELLO


def reply(server: Identity, client_revision: int) -> bytes:
    """One row of display name, version, revision 0 and time zone, in Native of `client_revision`."""
    columns = (
        ("displayName()", "String", _string(server.name)),
        ("version()", "String", _string(server.version)),
        ("revision()", "UInt32", struct.pack("<I", 0)),
        ("timezone()", "String", _string(server.timezone)),
    )
    block = bytearray(BLOCK_INFO if client_revision >= BLOCK_INFO_REVISION else b"")
    block += _varint(len(columns)) + _varint(1)
    for column, type_, value in columns:
        block += _string(column) + _string(type_)
        if client_revision >= CUSTOM_SERIALIZATION_REVISION:
            block += b"\x00"
        block += value
    return bytes(block)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return _varint(len(encoded)) + encoded


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
