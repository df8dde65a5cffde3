"""When a replay looks: time is event time, and as live everything is looked at every second of it.

The hand is the highest min(`ts`, Kafka timestamp) of all good records so far. Looks are at whole seconds of
it, so they do not depend on how the records are cut into blocks.
"""

from collections.abc import Iterator

from schemas.timeline import BEGINNING

LOOK = 1_000
"""Milliseconds of event time between two looks."""

PRECISION = 100
"""Where nothing comes for long, looks are further apart: by a hundredth of the time since the last record."""


def looks(before: int, now: int) -> Iterator[int]:
    """The looks (ms) after `before` up to `now`, where the hand goes from one to the other at once."""
    if before == BEGINNING:
        return
    due = before - before % LOOK + LOOK
    while due <= now:
        yield due
        later = due + max(LOOK, (due - before) // PRECISION)
        due = later - later % LOOK
