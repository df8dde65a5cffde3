"""Which versions end the worker with whatever they run. Pure; time comes in.

A request that ends its worker costs two lives and itself (`suspects.py`). A version that does it with every
request would cost two lives each, and leave a worker no time for anything else. So the supervisor counts ends
in a row with no run of the version completed between them; after `TRIES` the version rests: its requests are
answered with an error, its shadows left out. After `REST` it is tried again, for perhaps it was only asked
badly.
"""

from collections.abc import Iterable

import msgspec

TRIES = 4
"""Ends in a row: those of two requests."""

REST = 60.0
"""Seconds."""


class Record(msgspec.Struct):
    """How workers ended that ran a version (`model/version`), since one last completed a run of it; and until
    when it rests (monotonic seconds)."""

    label: str
    ends: list[str]
    until: float = 0.0


class Fitness:
    """Versions whose runs ended workers. The supervisor adds, its workers ask."""

    def __init__(self, known: Iterable[Record] = ()) -> None:
        self._known = {record.label: record for record in known}

    def list(self) -> list[Record]:
        """All: what the next worker is told."""
        return list(self._known.values())

    def add(self, label: str, proven: bool, end: str, now: float) -> None:
        """A worker ended, `end` says how, while it ran a version; `proven`: it had completed a run of it.
        `now`: monotonic seconds."""
        if proven:
            self._known.pop(label, None)
            return
        record = self._known.setdefault(label, Record(label, []))
        record.ends = [*record.ends, end][-TRIES:]
        if len(record.ends) >= TRIES:
            record.until = now + REST

    def reason(self, label: str, now: float) -> str | None:
        """Why a version must not run at monotonic time `now` (seconds); None where it may."""
        record = self._known.get(label) if self._known else None
        if record is None or now >= record.until:
            return None
        ends = ", ".join(record.ends)
        return (
            f"{label}: its last {len(record.ends)} runs have each ended the worker ({ends}); "
            f"it is tried again {REST:.0f} s after the last"
        )
