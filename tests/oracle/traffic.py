"""Live traffic as services of all sorts would produce it: on the broker, at its own pace, with all that goes
wrong in the field. What was produced is read back from the log, which is what the oracle judges.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import Consumer, KafkaError, Message
from confluent_kafka import TopicPartition as Partition

from schemas import policies
from schemas.policies import Policy
from schemas.records import Distribution, Profile
from schemas.settings import Settings
from schemas.timeline import Timeline
from schemas.topics import EVENTS, FEEDBACK, PREDICTIONS, REQUESTS, Topic
from streams.log import UNDELIVERED, Output
from tests.oracle.log import Logs, Raw, partition_of
from tests.oracle.truth import Truth, compute
from tests.oracle.views import Row, Value, disagreements, read, rows

BAD = (
    b"", None, b"{", b"[1]", b"{}", b"\xff\xfe\x00", b"null", b"\0\0\0\0\7nonsense", b"[" * 3_000,
    b'{"request_id":"r","ts":1,"model":"ranker"}',
    b'{"request_id":"r","ts":32503680000000,"model":"ranker","kind":"click","version":"v","arm":"stable",'
    b'"status":"ok","latency_ms":1}',
    b'{"request_id":7,"ts":1767225600000}', b'{"request_id":"\xff","ts":1767225600000,"kind":"click"}',
)  # fmt: skip
TAIL = 300_000
"""How far (ms) after all traffic its tail is, which closes all panes: more than any deadline, less than a
producer's clock may be ahead."""

LATENESS = policies.Duration(10_000)
"""More than a stage on a busy machine takes to start: what it re-publishes then is that old, and the topics
around it are not."""

WATCHED = Policy(
    model="ranker",
    pane=policies.Duration(1_000),
    attribution=policies.Attribution(window=policies.Duration(3_000), lateness=LATENESS),
    answer=policies.Duration(1_000),
    k=(1, 5),
    slow_ms=30.0,
    segments=("surface", "country"),
)
REFERENCE = Profile(
    model="ranker",
    version="v1",
    ts=1_735_689_600_000,
    features={
        "age": Distribution(counts=[3, 9, 4], edges=[18.0, 65.0], lowest=14.0, highest=99.0),
        "tier": Distribution(counts=[5, 2, 0], categories=["free", "gold"]),
    },
    score=Distribution(counts=[2, 2, 1], edges=[0.2, 0.5]),
)
TIERS = ("free", "gold", "Gold", None, 7, True)
KINDS = (*["click"] * 3, "purchase", "impression", "relevant", "view", "label")
SENTINEL = Policy(model="sentinel", pane=policies.Duration(1_000), attribution=WATCHED.attribution)


@dataclass
class Later:
    """A record that is due at wall time `at` (s), stamped `back` ms before then."""

    at: float
    topic: Topic
    value: dict[str, object]
    back: int = 0


@dataclass
class Traffic:
    """Produces until it is told to stop. `rate` requests a second; a share `bad` of all records is bad."""

    settings: Settings
    seed: int = 0
    rate: float = 60
    bad: float = 0.02
    _due: list[Later] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._failed: list[str] = []
        self._requests = 0
        self._views = Views(self.settings)
        self._thread = threading.Thread(target=self._flow, daemon=True)
        self._output = Output(self.settings)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, _type: object, exception: BaseException | None, _traceback: object) -> None:
        """Lets what is due come, and then the tail: see `TAIL`."""
        self._stopped.set()
        self._thread.join()
        if exception is not None:
            return
        self._output.flush(60)
        self._settle()
        self._tail()
        self._output.flush(60)
        assert self._failed == []

    def _flow(self) -> None:
        """Requests at random intervals, and what follows from each, in the order of time."""
        following = time.time()
        while not self._stopped.is_set() or self._due:
            now = time.time()
            while following <= now and not self._stopped.is_set():
                following += self._random.expovariate(self.rate)
                self._visit(now)
            due = sorted((later for later in self._due if later.at <= now), key=lambda later: later.at)
            self._due = [later for later in self._due if later.at > now]
            for later in due:
                self.send(later.topic, later.value | {"ts": int(later.at * 1000) - later.back})
                if self._random.random() < self.bad:
                    self.send_bad(self._random.choice(EVENTS), self._random.choice(BAD))
            self._output.serve()
            time.sleep(0.01)

    def _visit(self, now: float) -> None:
        """One request, its predictions and what its user does: mostly as it should be."""
        rng = self._random
        self._requests += 1
        request_id = f"{self.seed}-{self._requests}"
        who: dict[str, object] = {"user": f"u{rng.randrange(40)}", "surface": rng.choice(["home", "search"])}
        items: list[object] = [rng.choice([i, str(i)]) for i in rng.sample(range(50), 8)]
        base: dict[str, object] = {"request_id": request_id, "model": "ranker"}
        asked_again = 2 if rng.random() < 0.02 else 1
        for i in range(asked_again if rng.random() > 0.03 else 0):
            self._later(now + i * 0.3, REQUESTS, base | who | {"items": items, "segments": {"country": "de"}})
        if rng.random() < 0.04:
            return  # nobody answers
        answered = now + rng.expovariate(30) + (1.3 if rng.random() < 0.02 else 0)
        prediction: dict[str, object] = base | {
            "version": "v1",
            "arm": "stable",
            "status": rng.choices(["ok", "error", "timeout", "shed"], [20, 1, 1, 1])[0],
            "latency_ms": round(rng.lognormvariate(2.5, 1.0), 3),
            "items": items,
            "shown": rng.choice([None, 3, 5, 20]),
            "generation": rng.choice([None, 1, 2]),
            "scores": sorted((round(rng.betavariate(1, 3), 3) for _ in items), reverse=True),
            "features": rng.choice([None, {"age": rng.randrange(10, 110), "tier": rng.choice(TIERS)}, {}]),
        }
        if rng.random() < 0.3:
            prediction |= {"version": "v2", "arm": "candidate"}
        if rng.random() < 0.5:
            prediction |= who
        if rng.random() < 0.02:
            self._later(answered, PREDICTIONS, prediction, back=60_000)  # late
        else:
            self._later(answered, PREDICTIONS, prediction, back=rng.choice([0, 0, 0, 400]))
        for _ in range(rng.choice([0] * 12 + [1, 2])):
            self._later(answered + rng.random() * 2, PREDICTIONS, prediction)  # duplicates
        if rng.random() < 0.2:
            self._later(answered + 0.1, PREDICTIONS, prediction | {"version": "v3", "arm": "shadow"})
        self._react(answered, request_id, items)

    def _react(self, answered: float, request_id: str, items: list[object]) -> None:
        rng = self._random
        for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
            item: object = rng.choice([*items, 99])
            event: dict[str, object] = {
                "request_id": request_id if rng.random() > 0.03 else f"stray-{rng.randrange(9)}",
                "kind": rng.choice(KINDS),
                "item": rng.choice([item, str(item)]),
                "value": rng.choice([None, 0, 1, 0.25]),
                "event_id": rng.choice([None, None, f"{request_id}-{rng.randrange(3)}"]),
            }
            delay = rng.choice([-0.3, 0.0, rng.random(), 2.0, 2.9, 3.3, 4.2])
            for _ in range(rng.choice([1] * 9 + [2])):
                self._later(
                    answered + delay, FEEDBACK, event, back=rng.choice([0] * 20 + [300, 120_000, -400_000])
                )

    def _later(self, at: float, topic: Topic, value: dict[str, object], back: int = 0) -> None:
        self._due.append(Later(at, topic, {k: v for k, v in value.items() if v is not None}, back))

    def send(self, topic: Topic, value: dict[str, object], timestamp: int = 0) -> None:
        """A record as it should be, or, once in a hundred, without its key or in another partition."""
        key: str | None = str(value["request_id"])
        partition = -1
        chance = self._random.random() if not timestamp else 1.0
        if chance < 0.005:
            key = None
        elif chance < 0.01:
            partition = self._random.randrange(self.settings.topics.partitions)
        self._produce(topic, key, json.dumps(value).encode(), partition, timestamp)

    def send_bad(self, topic: Topic, value: bytes | None) -> None:
        """A record that is none."""
        partition = self._random.randrange(self.settings.topics.partitions)
        self._produce(topic, self._random.choice(["r", None]), value, partition, 0)

    def _produce(self, topic: Topic, key: str | None, value: bytes | None, partition: int, at: int) -> None:
        self._output.put(
            topic, key, value, partition, timestamp=at or int(time.time() * 1000), told=self._delivered
        )

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        """What a client kept that was given up never came into the logs: nobody has to know of it."""
        if error is not None and error.code() not in UNDELIVERED:
            self._failed.append(str(error))

    def _settle(self) -> None:
        """Waits until all that was produced is read, and then once more, for what was re-published meanwhile:
        behind a leap in time it would be late."""
        for name in ("calm-1", "calm-2"):
            self._send_sentinels(name, int(time.time() * 1000))
            self._output.flush(60)
            wait_until(partial(self._views.has_sentinels, name))

    def _tail(self) -> None:
        """Leaps ahead twice: behind the second leap the sentinels of the first are final, and all before."""
        self._send_sentinels("tail", int(time.time() * 1000) + TAIL)
        self._send_sentinels("end", int(time.time() * 1000) + 2 * TAIL)

    def _send_sentinels(self, name: str, at: int) -> None:
        """In each partition a request, its answer and feedback. The answer's surface comes from the request,
        so a row of it that has the feedback says that all three topics are read up to here."""
        for request_id in one_for_each_partition(self.settings.topics.partitions, f"{name}-{self.seed}"):
            base = {"request_id": request_id, "model": SENTINEL.model, "ts": at}
            answer = {"version": "v1", "arm": "stable", "status": "ok", "latency_ms": 1.0, "items": [1]}
            self.send(REQUESTS, base | {"surface": name}, at)
            self.send(PREDICTIONS, base | answer, at)
            self.send(FEEDBACK, {"request_id": request_id, "ts": at, "kind": "relevant", "item": 1}, at)


def one_for_each_partition(partitions: int, prefix: str) -> list[str]:
    """A request id for each partition, in their order."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < partitions:
        found.setdefault(partition_of(f"{prefix}-{number}".encode(), partitions), f"{prefix}-{number}")
        number += 1
    return [found[partition] for partition in range(partitions)]


def logs(settings: Settings) -> Logs:
    """All that is in the event topics."""
    consumer = Consumer(settings.kafka.librdkafka() | {"group.id": "oracle", "enable.auto.commit": False})
    result: dict[Topic, dict[int, list[Raw]]] = {}
    try:
        for topic in EVENTS:
            name = topic.full_name(settings.topics)
            result[topic] = {
                number: _records(consumer, Partition(name, number, 0))
                for number in range(settings.topics.partitions)
            }
    finally:
        consumer.close()
    return result


def _records(consumer: Consumer, partition: Partition) -> list[Raw]:
    end = consumer.get_watermark_offsets(partition, 10)[1]
    consumer.assign([partition])
    records: list[Raw] = []
    while not records or records[-1].offset < end - 1:
        for message in consumer.consume(10_000, 0.2):
            assert message.error() is None
            offset = message.offset()
            assert offset is not None
            headers = [(n, v) for n, v in message.headers() or () if isinstance(v, bytes)]  # type: ignore[str-unpack]
            records.append(Raw(offset, message.timestamp()[1], message.key(), message.value(), headers))
    return records


def timeline(watched: Policy) -> Timeline:
    """The policies that the traffic is watched under."""
    result = Timeline()
    for policy in (watched, SENTINEL):
        result.add(policy, 0)
    return result


@dataclass
class Views:
    """The views of one database."""

    settings: Settings

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Rows of a query."""
        client = clickhouse_connect.get_client(
            **self.settings.clickhouse.connect(), database=self.settings.clickhouse.database
        )
        try:
            return [tuple(row) for row in client.query(sql).result_rows]
        finally:
            client.close()

    def metrics(self, *, segments: bool) -> dict[Row, Value]:
        """All rows of `metrics`, or of `metrics_by_segment`."""
        view, extra = ("metrics_by_segment", "segment, segment_value") if segments else ("metrics", "'', ''")
        sql = (
            f"SELECT toUnixTimestamp64Milli(pane), model, version, arm, {extra}, metric, "
            f"value, numerator, denominator, final FROM {view}"
        )
        return read(self.query(sql), segments=segments)

    def has_sentinels(self, name: str) -> bool:
        """Whether every source partition's sentinel of a name is there, with all it has."""
        found = self._number("sum(denominator)", f"metric = 'recall@5' AND segment_value = '{name}'")
        return found == self.settings.topics.partitions

    def is_final(self) -> bool:
        """Whether the tail's first sentinels are final, and so all before them."""
        return self._number("max(toUInt8(final))", "segment_value = 'tail'") == 1

    def _number(self, what: str, where: str) -> int:
        try:
            found = self.query(f"SELECT {what} FROM metrics_by_segment WHERE model = 'sentinel' AND {where}")
        except (ClickHouseError, OSError):
            return -1
        return int(str(found[0][0] or 0).partition(".")[0])


def wait_until(holds: Callable[[], bool], timeout: float = 90) -> None:
    """Waits for what can be observed."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"it did not come true in {timeout} s"
        time.sleep(0.5)  # asking a view takes the engine 0.15 s of CPU


def wait_until_final(settings: Settings, timeout: float = 90) -> None:
    """Waits until every pane before the tail is final."""
    wait_until(Views(settings).is_final, timeout)


def before_tail(truth: Truth) -> Truth:
    """The part of the truth that is final behind the tail's second leap."""
    first = min(series.start for series in truth if series.segment_value == "tail")
    return {series: tally for series, tally in truth.items() if series.start <= first}


def compare(
    settings: Settings, watched: Policy = WATCHED, profiles: Sequence[Profile] = ()
) -> tuple[list[str], Truth]:
    """Where the views differ from the batch truth over the topics, and that truth."""
    in_force = timeline(watched)
    truth = before_tail(compute(logs(settings), settings.topics.partitions, in_force, profiles))
    latest = max(series.start for series in truth)
    views = Views(settings)
    found: list[str] = []
    for segments in (False, True):
        part = {series: tally for series, tally in truth.items() if bool(series.segment) == segments}
        got = {
            row: value
            for row, value in views.metrics(segments=segments).items()
            if row.series.start <= latest
        }
        found += disagreements(rows(part, in_force), got)
    return found, truth


def total(truth: Truth, name: str) -> int:
    """A sum over all panes, versions and arms."""
    return sum(tally.sums[name] for series, tally in truth.items() if not series.segment)
