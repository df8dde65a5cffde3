"""What the HTTP front has to know about a statement before the engine sees it: where an INSERT's data begin,
and whether rows come back.

The engine itself cannot be given data behind the SQL, as the real server can: it takes a blank line for their
end, which binary data may well contain.
"""

import re
from typing import NamedTuple

_TOKEN = re.compile(
    rb"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)|(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`)"""
    rb"""|(?P<word>\w+)|(?P<other>.)""",
    re.DOTALL,
)
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_END_OF_LINE = re.compile(rb"[ \t]*;?[ \t]*(?:\r?\n)?")

ROWS = frozenset(
    [b"SELECT", b"WITH", b"SHOW", b"DESC", b"DESCRIBE", b"EXISTS", b"EXPLAIN", b"CHECK", b"FROM"]
)
"""The words that statements with rows in reply begin with."""


class Insert(NamedTuple):
    """An INSERT with its data behind it: `head` is the statement without its settings and its format."""

    head: bytes
    format: str
    data: bytes
    settings: bytes = b""


def split_insert(sql: bytes) -> Insert | None:
    """The parts of an `INSERT … FORMAT name` or `INSERT … VALUES` statement; None for every other."""
    if _first_word(sql) != b"INSERT":
        return None
    depth = 0
    settings: int | None = None
    for token in _TOKEN.finditer(sql):
        depth += {b"(": 1, b")": -1}.get(token[0], 0)
        if depth or token.lastgroup != "word":
            continue
        word = token[0].upper()
        if word == b"VALUES":
            head, given = _split_settings(sql[: token.start()], settings)
            return Insert(head, "Values", sql[token.end() :], given)
        if word == b"FORMAT":
            name = re.compile(rb"\s*(\w+)").match(sql, token.end())
            if name is None:
                return None
            line = _END_OF_LINE.match(sql, name.end())
            head, given = _split_settings(sql[: token.start()], settings)
            return Insert(head, name[1].decode(), sql[line.end() if line else name.end() :], given)
        if word == b"SETTINGS":
            settings = token.start()
        if word in (b"SELECT", b"WITH", b"INFILE"):
            return None
    return None


def _split_settings(head: bytes, place: int | None) -> tuple[bytes, bytes]:
    return (head, b"") if place is None else (head[:place], head[place:])


def returns_rows(sql: bytes) -> bool:
    """Whether it asks for rows, none perhaps; others say only that they are done."""
    return _first_word(sql) in ROWS


def named_format(sql: bytes) -> str | None:
    """The format that a statement with rows in reply asks for itself."""
    named = _FORMAT.search(sql)
    return named[1].decode() if named else None


def _first_word(sql: bytes) -> bytes:
    for token in _TOKEN.finditer(sql):
        if token.lastgroup == "word":
            return token[0].upper()
        if token[0] != b"(" and token.lastgroup != "space":
            break
    return b""
