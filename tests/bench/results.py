"""How results are read: a peer's rows, the snapshots of Headgate's join, and the count of decoding alone,
all as counts by pane; and when they are complete.
"""

from collections import defaultdict
from typing import Protocol

import msgspec

from schemas import topics
from schemas.records import Codec, Pane, PaneRecord
from schemas.settings import Settings
from schemas.topics import Topic
from streams.log import Follower
from tests.bench.backlog import Backlog
from tests.bench.workload import Counts, Key


class Results(Protocol):
    """What a contestant has said so far."""

    def refresh(self) -> bool:
        """Reads what is new; whether it changes anything."""
        ...

    def counts(self) -> dict[Key, Counts]:
        """By pane."""
        ...

    def complete(self, backlog: Backlog) -> bool:
        """Whether all is there, of every pane of the workload."""
        ...


class Row(msgspec.Struct):
    """A peer's row. `diff` is Pathway's: −1 takes back what was said."""

    version: str
    arm: str
    start: int
    predictions: int
    impressions: int
    clicks: int
    latency_ms: float
    diff: int = 1


class Rows:
    """The results of a peer: the last row of a pane holds."""

    def __init__(self, settings: Settings, topic: Topic) -> None:
        self._follower = Follower(settings, topic)
        self._follower.refresh()
        self._decoder = msgspec.json.Decoder(Row)
        self._counts: dict[Key, Counts] = {}

    def refresh(self) -> bool:
        changed = False
        for entry in self._follower.refresh():
            row = self._decoder.decode(entry.value or b"")
            key = Key(row.version, row.arm, row.start)
            counts = Counts(row.predictions, row.impressions, row.clicks, row.latency_ms)
            if row.diff > 0 and self._counts.get(key) != counts:
                self._counts[key] = counts
                changed = True
        return changed

    def counts(self) -> dict[Key, Counts]:
        return self._counts

    def complete(self, backlog: Backlog) -> bool:
        return all(exact(self._counts.get(key), truth) for key, truth in backlog.truth.items())


class Snapshots:
    """The results of Headgate's join: the last snapshot of a key holds, and keys add up."""

    def __init__(self, settings: Settings, since: int | None = None) -> None:
        """`since` (Kafka time, ms) leaves out what was said before."""
        self._follower = Follower(settings, topics.PANES, since=since)
        self._follower.refresh()
        self._codec: Codec[PaneRecord] = Codec(PaneRecord)
        self._panes: dict[tuple[Key, int, int, int], tuple[Counts, float]] = {}

    def refresh(self) -> bool:
        changed = False
        for entry in self._follower.refresh():
            pane = self._codec.decode(entry.value)
            if not isinstance(pane, Pane) or pane.segment or not pane.version:
                continue
            sums = pane.sums
            counts = Counts(
                int(sums.get("predictions", 0)),
                int(sums.get("impressions", 0)),
                int(sums.get("clicks", 0)),
                sums.get("latency_ms", 0.0),
            )
            key = (Key(pane.version, pane.arm, pane.start), pane.generation, pane.partition, pane.part)
            said = (counts, sums.get("pairs", 0.0))
            if self._panes.get(key) != said:
                self._panes[key] = said
                changed = True
        return changed

    def counts(self) -> dict[Key, Counts]:
        found: defaultdict[Key, Counts] = defaultdict(lambda: Counts(0, 0, 0, 0.0))
        for (key, *_), (counts, _) in self._panes.items():
            found[key] = found[key].plus(counts)
        return found

    def complete(self, backlog: Backlog) -> bool:
        """Final as well: pairs of score and click are counted in final snapshots."""
        counts = self.counts()
        pairs: defaultdict[Key, float] = defaultdict(float)
        for (key, *_), (_, count) in self._panes.items():
            pairs[key] += count
        return all(
            exact(counts.get(key), truth) and pairs[key] == truth.impressions
            for key, truth in backlog.truth.items()
        )


class Decoded:
    """The results of decoding alone: how many records so far."""

    def __init__(self, settings: Settings, topic: Topic) -> None:
        self._follower = Follower(settings, topic)
        self._follower.refresh()
        self._count = 0

    def refresh(self) -> bool:
        entries = self._follower.refresh()
        for entry in entries:
            self._count = msgspec.json.decode(entry.value or b"", type=int)
        return bool(entries)

    def counts(self) -> dict[Key, Counts]:
        return {}

    def complete(self, backlog: Backlog) -> bool:
        return self._count == backlog.records


def exact(found: Counts | None, truth: Counts) -> bool:
    """Counts equal, the sum of latencies but for rounding."""
    return (
        found is not None
        and found[:3] == truth[:3]
        and abs(found.latency_ms - truth.latency_ms) <= 1e-6 * truth.latency_ms
    )
