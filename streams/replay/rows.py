"""What a replay prints: a line of JSON for each, with the columns or fields of the view or topic of its name.

The order of fields is that of the types, numbers are written as `msgspec` writes them: the same record is the
same bytes.
"""

from datetime import UTC, datetime
from typing import Literal

import msgspec

from schemas.records import ENCODER, Alert, DeadLetter, Release

Kind = Literal["pane", "alert", "release", "dead_letter"]
KINDS: tuple[Kind, ...] = ("pane", "alert", "release", "dead_letter")


class PaneRow(msgspec.Struct, frozen=True):
    """A row of the view `metrics`. `pane` is written as ClickHouse writes it in JSON, in UTC, to the
    millisecond."""

    pane: str
    seconds: float
    model: str
    version: str
    arm: str
    metric: str
    value: float | None
    numerator: float | None
    denominator: float | None
    lower: float | None
    upper: float | None
    final: bool


Output = PaneRow | Alert | Release | DeadLetter

_NAMES: dict[type, Kind] = {
    PaneRow: "pane",
    Alert: "alert",
    Release: "release",
    DeadLetter: "dead_letter",
}
_HEADS = {type_: b'{"type":"%b",' % name.encode() for type_, name in _NAMES.items()}


def kind(output: Output) -> Kind:
    """What it is called."""
    return _NAMES[type(output)]


def line(output: Output) -> bytes:
    """Its line, with the newline."""
    return _HEADS[type(output)] + ENCODER.encode(output)[1:] + b"\n"


def instant(milliseconds: int) -> str:
    """A time (epoch ms) as ClickHouse writes a DateTime64(3).

    >>> instant(1_700_000_000_050)
    '2023-11-14 22:13:20.050'
    """
    seconds, rest = divmod(milliseconds, 1_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest:03d}"
