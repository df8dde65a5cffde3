"""Is this consumer alive? Judged by what it has achieved, for a Kafka consumer can die without a word. Pure:
time comes in."""

from typing import NamedTuple

BUSY = 10
"""A call of the stage may take this many times the patience, for it may be waiting for ClickHouse; and so
long may it hold everything back that there is to read, for it may be waiting for time to pass."""


class Vitals(NamedTuple):
    """What there is to do and what was done: offsets not yet read, advances of positions so far, whether a
    commit is due, commits so far, since when the stage is in a call (monotonic seconds), and how many of the
    offsets not yet read the stage wants to wait."""

    lag: int
    moves: int
    due: bool
    commits: int
    busy_since: float | None
    held: int = 0


class Liveness:
    """Finds out when work is there but none gets done for `patience` seconds. To be asked every few seconds
    while the broker answers."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._moves = self._commits = -1
        self._moved_at = self._read_at = self._committed_at = 0.0

    def unknown(self) -> None:
        """The broker does not answer: nothing can be said, and the clocks start again with its next
        answer."""
        self._moves = self._commits = -1

    def observe(self, now: float, vitals: Vitals) -> str | None:
        """What is wrong at monotonic time `now` (seconds), in words; None while all is well."""
        if vitals.lag == 0 or vitals.moves != self._moves:
            self._moves, self._moved_at, self._read_at = vitals.moves, now, now
        if vitals.lag == vitals.held:
            self._read_at = now
        if not vitals.due or vitals.commits != self._commits:
            self._commits, self._committed_at = vitals.commits, now
        if vitals.busy_since is not None:
            self._moved_at = self._read_at = now
            if now - vitals.busy_since > BUSY * self._patience:
                return f"one call of the stage has been running for {now - vitals.busy_since:.0f} s"
            return None
        if now - self._read_at > self._patience:
            return f"{vitals.lag} offsets behind, but nothing was read for {now - self._read_at:.0f} s"
        if now - self._moved_at > BUSY * self._patience:
            waited = now - self._moved_at
            return (
                f"the stage has held back all {vitals.held} offsets that there are to read for {waited:.0f} s"
            )
        if now - self._committed_at > self._patience:
            silent = now - self._committed_at
            return f"offsets are to be committed, but the broker has taken none for {silent:.0f} s"
        return None
