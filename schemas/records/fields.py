"""What the fields of records are: numbers with their bounds, names, and the words that there are."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

YEAR_2000 = 946_684_800_000
YEAR_2300 = 10_413_792_000_000
LARGEST = (1 << 63) - 1
DAY = 86_400_000

Time = Annotated[
    int, Meta(ge=YEAR_2000, lt=YEAR_2300, description="Epoch milliseconds, UTC; not before the year 2000.")
]
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Integer = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
Milliseconds = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(min_length=1)]
ShortName = Annotated[str, Meta(min_length=1, max_length=512)]
"""Of what is written on into other records, which must not grow beyond what a broker takes."""
Words = Annotated[str, Meta(max_length=4_096)]
"""Free text that is written on in the same way."""
Item = str | int
Feature = float | str | bool | None

Status = Literal["ok", "error", "timeout", "shed"]
Arm = Literal["stable", "candidate", "shadow"]
Phase = Literal["stable", "canary", "paused", "watching", "rolled_back"]
Command = Literal["start", "promote", "rollback", "pause", "resume", "abort"]
Mode = Literal["canary", "shadow"]


class Record(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What all records have in common: where they are encoded, defaults are left out."""
