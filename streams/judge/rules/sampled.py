"""A partition of `metrics.samples` in the judge's stage: its rules (`samples.py`), and which of its records a
successor needs.
"""

import time

import msgspec

from schemas.records import Alert, Codec, Sample, problem
from schemas.timeline import Timeline
from streams.judge.facts import notes
from streams.judge.rules.samples import Samples
from streams.metrics.samples import event_time
from streams.stage import Assigned, Committed, Reading, Record

MINUTE = 60_000
"""Offsets are remembered by the minute (ms) of event time."""


class SampledPartition:
    """One partition of `metrics.samples`: its rules, and which of its records they need."""

    def __init__(self, timeline: Timeline, assigned: Assigned | None) -> None:
        self.note = notes.read(assigned)
        self.samples = Samples(timeline, self.note.floor)
        self._cut = assigned is not None and notes.cut(assigned)
        self._codec: Codec[Sample] = Codec(Sample)
        self._offsets: dict[int, int] = {}
        self._read_at = _now()

    def take(self, record: Record, batch: int) -> list[Alert]:
        """The next record, which came in the batch that starts at this offset; answers what is to be told.

        One that is no sample is left alone: the sink, which keeps them, says so in `dead.letters`.
        """
        try:
            sample = self._codec.decode(record.value)
        except ValueError:
            return []
        if problem(sample, record.timestamp) is not None:
            return []
        alerts = self.samples.take(sample, record.timestamp)
        if self._cut:
            self._cut = False
            self.samples.doubt(self.samples.clock)
        self._offsets.setdefault(event_time(sample, record.timestamp) // MINUTE, batch)
        self._read_at = _now()
        return alerts if record.offset >= self.note.done else []

    def pass_time(self, reading: Reading) -> list[Alert]:
        """Lets the clock go on with the wall's where all is read; answers what is to be told."""
        idle = max(0, reading.asked - self._read_at) if reading.position >= reading.end else 0
        return self.samples.pass_time(idle)

    def safe(self, flushed: int) -> Committed:
        """The oldest offset that a rule needs, all below `flushed` being done with."""
        needed = self.samples.needed()
        floor = self.samples.clock if needed is None else needed
        self._offsets = {m: first for m, first in self._offsets.items() if (m + 1) * MINUTE > floor}
        offsets = [] if needed is None else self._offsets.values()
        note = notes.Note(floor=max(floor, self.note.floor), done=flushed)
        return Committed(min([*offsets, flushed]), msgspec.json.encode(note).decode())


def _now() -> int:
    return time.time_ns() // 1_000_000
