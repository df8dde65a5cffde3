"""Who has been heard of, and since when without a gap: whether a release's arms have data, and whether
anybody is answered at all.

Pure; times are Kafka timestamps (ms) of what told of it, so reading again tells the same.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from streams.judge.releases.verdict import Cause, Silence

HOUR = 3_600_000


class Heard(msgspec.Struct, frozen=True):
    """A version that had data last at `last`, and since `since` without too long a gap."""

    since: int
    last: int


class Arm(NamedTuple):
    """An arm that ought to have data, as people call it, and when it had."""

    name: str
    heard: Heard


NEVER = Heard(0, 0)


class Presence:
    """Who was heard of one model. `unanswered` is when a request was last found to be without an answer."""

    def __init__(self) -> None:
        self.versions: dict[str, Heard] = {}
        self.unanswered = 0

    def hear(self, version: str, timestamp: int, gap: int) -> None:
        """The version had data at `timestamp`; more than `gap` ms without them begin anew."""
        held = self.versions.get(version)
        if held is None or timestamp > held.last + gap:
            self.versions[version] = Heard(timestamp, timestamp)
        elif timestamp > held.last:
            self.versions[version] = Heard(held.since, timestamp)

    def of(self, version: str) -> Heard:
        """When a version had data; `NEVER` where it had none."""
        return self.versions.get(version, NEVER)

    def recall(self, versions: Mapping[str, Heard], unanswered: int) -> None:
        """What a predecessor has heard."""
        self.versions = dict(versions) | self.versions
        self.unanswered = max(self.unanswered, unanswered)


def silence(
    arms: Sequence[Arm], told: int | None, unanswered: int, since: int, patience: int, now: int
) -> Silence | None:
    """What has been silent for more than `patience` ms at `now`, counted from `since` at the earliest; None
    where nothing has.

    `told` is when every source of panes had spoken (None: one never has), `unanswered` when a request was
    found to be without an answer.
    """

    def late(at: int) -> bool:
        return now - max(at, since) > patience

    silent = [arm for arm in arms if late(arm.heard.last)]
    if not silent:
        return None
    names = " and ".join(arm.name for arm in silent)
    if late(told or 0):
        return Silence(
            Cause.NO_DATA, f"no data of {names}: metrics.panes has stopped, so see whether the join runs"
        )
    if len(silent) < len(arms):
        return Silence(Cause.NO_DATA, f"no data of {names}, while the other one has them")
    why = "requests go unanswered, so see whether a worker serves" if not late(unanswered) else "no requests"
    return Silence(Cause.NO_TRAFFIC, f"no traffic, no data of {names}: {why}")


def calm(pauses: int, patience: int) -> int:
    """How long (ms) data must have come without a gap before the `pauses`-th pause for want of them ends by
    itself: the first ends at once, then it is `patience`, doubled from pause to pause, at most an hour.

    >>> [calm(n, 120_000) // 60_000 for n in range(1, 9)]
    [0, 2, 4, 8, 16, 32, 60, 60]
    """
    return 0 if pauses < 2 else min(patience << min(pauses - 2, 30), max(patience, HOUR))


def returned(arms: Sequence[Arm], paused: int, needed: int) -> bool:
    """Whether all arms have had data after `paused` (ms), and together for `needed` ms without a gap."""
    found = [arm.heard for arm in arms]
    together = min(heard.last for heard in found) - max(heard.since for heard in found)
    return all(heard.last > paused for heard in found) and together >= needed
