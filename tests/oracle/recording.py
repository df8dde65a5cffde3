"""Real data as the events that would have been produced from it, joined by the core, and what its panes
then say."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from schemas.policies import Policy
from schemas.records import Pane, Profile
from schemas.settings import Settings
from schemas.timeline import Timeline
from schemas.topics import EVENTS, FEEDBACK, PREDICTIONS, REQUESTS, Topic
from streams.join.references import References
from streams.log import Output
from streams.metrics import evaluate, tallies
from tests.oracle.lives import Move, Read, emitted
from tests.oracle.log import Logs, Raw, partition_of
from tests.oracle.panes import newest
from tests.oracle.traffic import one_for_each_partition
from tests.oracle.truth import Series

BATCH = 2_000
Metrics = Mapping[str, evaluate.Row]
"""By name."""


class Recording:
    """Events of the three topics, in order of their Kafka timestamps, in `partitions` partitions each."""

    def __init__(self, partitions: int = 2) -> None:
        self.partitions = partitions
        self._records: dict[Topic, dict[int, list[Raw]]] = {topic: defaultdict(list) for topic in EVENTS}
        self.count = 0

    def add(self, topic: Topic, ts: int, request_id: str, *, delay: int = 0, **fields: object) -> None:
        """A record of that `ts` that came to the broker `delay` ms later."""
        value = json.dumps({"request_id": request_id, "ts": ts} | fields).encode()
        key = request_id.encode()
        self._records[topic][partition_of(key, self.partitions)].append(Raw(0, ts + delay, key, value))
        self.count += 1

    def close(self, ts: int) -> None:
        """A record of another model in every partition of every topic, so late that all panes before are
        final."""
        for request_id in one_for_each_partition(self.partitions, f"tail-{ts}"):
            self.add(REQUESTS, ts, request_id, model="tail")
            self.add(
                PREDICTIONS,
                ts,
                request_id,
                model="tail",
                version="v1",
                arm="stable",
                status="ok",
                latency_ms=1,
            )
            self.add(FEEDBACK, ts, request_id, kind="tail")

    def logs(self) -> Logs:
        """All of it, with offsets."""
        return {
            topic: {partition: _in_order(raws) for partition, raws in partitions.items()}
            for topic, partitions in self._records.items()
        }


def _in_order(raws: Iterable[Raw]) -> list[Raw]:
    arrived = sorted(raws, key=lambda raw: raw.timestamp)
    return [raw._replace(offset=offset) for offset, raw in enumerate(arrived)]


def produce(recording: Recording, settings: Settings) -> None:
    """Writes all of it to the broker, with its own times; the topics have as many partitions as it."""
    output = Output(settings)
    for topic, partitions in recording.logs().items():
        for partition, raws in partitions.items():
            for raw in raws:
                assert raw.value is not None
                output.send(topic, raw.key, raw.value, partition, timestamp=raw.timestamp)
    output.flush()


def final_panes(recording: Recording, policy: Policy, *profiles: Profile) -> list[Pane]:
    """What the join makes of it when all panes are closed: the newest snapshots, by source partition."""
    timeline, references = Timeline(), References()
    timeline.add(policy, 0)
    for profile in profiles:
        references.add(profile)
    turn: list[Move] = [*(Read(topic, BATCH) for topic in EVENTS), "emit"]
    moves = turn * (recording.count // BATCH + 1)
    panes = emitted(recording.logs(), recording.partitions, timeline, moves, references)
    return list(newest(panes).values())


def metrics(panes: Iterable[Pane], seconds: float = 1.0) -> dict[Series, Metrics]:
    """What they say of each series, added up over source partitions and generations, by the catalogue."""
    found: dict[Series, list[tallies.Tally]] = defaultdict(list)
    for pane in panes:
        name = Series(pane.model, pane.version, pane.arm, pane.segment, pane.segment_value, pane.start)
        found[name].append(tallies.of(pane))
    return {series: _rows(parts, seconds) for series, parts in found.items()}


def overall(panes: Iterable[Pane], version: str, segment: str = "", value: str = "") -> Metrics:
    """What they say of a version in all panes together."""
    asked = (version, segment, value)
    return _rows([tallies.of(p) for p in panes if (p.version, p.segment, p.segment_value) == asked], 1.0)


def _rows(parts: Sequence[tallies.Tally], seconds: float) -> Metrics:
    return {row.metric: row for row in evaluate.rows(tallies.merge(parts), seconds)}
