"""A join on the desk: records laid before it one by one, and what its panes hold when all is closed.

For tests of one behaviour each. Times are ms after `NOON`; what a test does not say is as in `POLICY`.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from schemas import policies
from schemas.policies import Policy
from schemas.records import Pane, Profile
from schemas.timeline import BEGINNING, Timeline
from schemas.topics import EVENTS, FEEDBACK, PREDICTIONS, REQUESTS, Topic
from streams.columns import Records
from streams.join.arrivals import Lost
from streams.join.control import Control
from streams.join.core import Join
from streams.join.ledger import Safe
from streams.join.references import References
from tests.oracle.lives import END
from tests.oracle.log import Raw
from tests.oracle.panes import Measured, measure
from tests.oracle.truth import Series

NOON = 1_767_268_800_000
SECOND = 1_000
MINUTE = 60 * SECOND
PANE = 10 * SECOND
WINDOW = 5 * MINUTE
LATENESS = 1 * MINUTE
DEADLINE = PANE + WINDOW + LATENESS
"""Of the pane that starts at 0."""


def policy(**fields: object) -> Policy:
    """The model's policy, with other fields than `POLICY`'s where given."""
    return policies.parse(
        {
            "model": "ranker",
            "attribution": {"window": "5m", "lateness": "1m"},
            "answer": "30s",
            "k": [1, 3],
            "segments": ["surface", "country"],
        }
        | fields
    )


POLICY = policy()


class Desk:
    """One source partition of `count`, of one life; `starts` and `time` are a predecessor's."""

    def __init__(
        self,
        watched: Policy = POLICY,
        *profiles: Profile,
        partition: int = 0,
        count: int = 1,
        starts: Mapping[Topic, Safe] | None = None,
        time: int = BEGINNING,
    ) -> None:
        self.timeline = Timeline()
        self.timeline.add(watched, NOON)
        references = References()
        for profile in profiles:
            references.add(profile)
        starts = starts or {topic: Safe(0, BEGINNING) for topic in EVENTS}
        self.control = Control(self.timeline, references)
        self.join = Join(partition, count, self.control, starts, time)
        self.emitted: list[Pane] = []
        self.lost: list[Lost] = []
        self.log: dict[Topic, list[Raw]] = {topic: [] for topic in EVENTS}
        self._offsets = {topic: starts[topic].offset for topic in EVENTS}
        self._rounds = 0

    def apply(self, watched: Policy, at: int) -> None:
        """A policy is published."""
        self.timeline.add(watched, NOON + at)
        self.control.refresh()

    def publish(self, profile: Profile) -> None:
        """A profile comes."""
        self.control.references.add(profile)
        self.control.refresh()

    def request(self, at: int, /, *, kafka: int | None = None, **fields: object) -> None:
        """Reads a request of that `ts`; `kafka` is the Kafka timestamp, the same where not said."""
        self._read(REQUESTS, at, kafka, {"request_id": "r", "model": "ranker"} | fields)

    def prediction(self, at: int, /, *, kafka: int | None = None, **fields: object) -> None:
        """Reads a prediction: version v1 on the stable arm, ok, of items a to d, all shown."""
        answer = {"version": "v1", "arm": "stable", "status": "ok", "latency_ms": 20, "items": list("abcd")}
        self._read(PREDICTIONS, at, kafka, {"request_id": "r", "model": "ranker"} | answer | fields)

    def feedback(self, at: int, /, *, kafka: int | None = None, **fields: object) -> None:
        """Reads feedback: a click on item a."""
        self._read(FEEDBACK, at, kafka, {"request_id": "r", "kind": "click", "item": "a"} | fields)

    def raw(
        self,
        topic: Topic,
        value: bytes | None,
        *,
        kafka: int = 0,
        key: bytes | None = b"r",
        headers: tuple[tuple[str, bytes | None], ...] = (),
    ) -> None:
        """Reads a record of that value."""
        self._take(topic, [Raw(self._offsets[topic], NOON + kafka, key, value, headers)])

    def batch(self, topic: Topic, values: Sequence[bytes | None]) -> None:
        """Reads records of these values as one batch, Kafka's time `NOON`."""
        first = self._offsets[topic]
        self._take(topic, [Raw(first + i, NOON, b"r", value) for i, value in enumerate(values)])

    def _take(self, topic: Topic, batch: list[Raw]) -> None:
        self._offsets[topic] += len(batch)
        self.log[topic] += batch
        self.lost += self.join.read(topic, Records.of(batch))

    def successor(self, *order: Topic) -> "Desk":
        """A later owner that starts from what this one would commit now, and has read all that this one had,
        one topic after the other in `order`."""
        starts = {topic: self.join.safe(topic) for topic in EVENTS}
        later = Desk(starts=starts, time=self.join.time)
        later.emitted = list(self.emitted)
        later._rounds = self._rounds + 1_000
        for topic in order:
            for raw in self.log[topic]:
                if raw.offset >= starts[topic].offset:
                    later._take(topic, [raw])
        return later

    def pass_time(self, at: int) -> None:
        """Something of another request moves all three clocks to `at`."""
        self.request(at, request_id="passing", model="passing")
        self.prediction(at, request_id="passing", model="passing")
        self.feedback(at, request_id="passing", kind="passing")
        self.emit(at)

    def emit(self, reached: int) -> None:
        """A round of output, when all three topics have passed `reached`."""
        self.join.advance(NOON + reached)
        self._rounds += 1
        self.emitted += self.join.snapshots(self._rounds, END)

    def close(self) -> dict[Series, Measured]:
        """Closes all panes; answers what all series hold, times as after `NOON`."""
        self.join.advance(END)
        self.emitted += self.join.snapshots(self._rounds + 1, END)
        return {
            series._replace(start=series.start - NOON): measured
            for series, measured in measure(self.emitted).items()
            if series.model != "passing"
        }

    def sums(
        self, version: str = "v1", arm: str = "stable", start: int = 0, segment: str = "", value: str = ""
    ) -> Counter[str]:
        """All panes closed, what a series of the model holds, but for its latencies and zeros."""
        series = Series("ranker", version, arm, segment, value, start)
        return plain(self.close().get(series, Measured()).sums)

    def counts(self, start: int = 0, model: str = "ranker") -> Counter[str]:
        """All panes closed, what a model's series without version holds; of records without a model: ""."""
        return plain(self.close().get(Series(model, "", "", "", "", start), Measured()).sums)

    def _read(self, topic: Topic, at: int, kafka: int | None, fields: Mapping[str, object]) -> None:
        value = json.dumps({**fields, "ts": NOON + at}).encode()
        key = str(fields["request_id"]).encode()
        self.raw(topic, value, kafka=at if kafka is None else kafka, key=key)


def plain(sums: Counter[str]) -> Counter[str]:
    """The counts without zeros, and without what follows from the others: what every timed prediction has,
    and what relevant items make of the ranking metrics (`tests/unit/test_join_metrics.py`).
    """
    return Counter({n: v for n, v in sums.items() if v and n.partition("@")[0] not in DERIVED})


DERIVED = frozenset(
    (
        *("timed", "latency_ms", "freshness_ms", "relevant_predictions", "reciprocal_rank"),
        *("places", "hit_predictions", "ndcg", "average_precision"),
    )
)
