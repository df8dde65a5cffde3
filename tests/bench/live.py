"""Live traffic of 20,000 events a second: how long after a click its pane shows it, and how much the join
writes for what it reads.
"""

import heapq
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from infra.local.stack import LocalStack
from schemas import topics
from schemas.records import Codec, Pane, PaneRecord
from schemas.settings import Settings
from schemas.topics import Topic
from streams.log import Follower
from tests.bench import processes, workload
from tests.bench.backlog import prepare
from tests.bench.contestants import log_of, stage, warm_up
from tests.bench.workload import CHUNK, EVENTS_A_PREDICTION, Event, Key, Slates

RATE = 20_000
"""Events a second."""
STEP = 0.02
WARM = 10.0
"""Seconds at the beginning that are not counted."""
STARTING = 60.0
"""Seconds that the join may take to start."""
TAIL = 5.0
"""Seconds to wait for the last clicks' panes."""

Source = tuple[Key, int]
"""A pane as one source partition counts it."""


class Timed(NamedTuple):
    """An event, where it goes, and, of a click, its pane; in order of time."""

    ts: int
    topic: Topic
    event: Event
    pane: Key | None


class Seen(NamedTuple):
    """So many clicks were in a pane when its snapshot was read, at wall time `at` (s)."""

    source: Source
    clicks: int
    at: float


class Traffic:
    """Produces at the pace of the events' times; remembers when each click was produced, by pane."""

    def __init__(self, settings: Settings, seconds: int) -> None:
        self._settings = settings
        self._rate = int(RATE / EVENTS_A_PREDICTION)
        self._count = self._rate * seconds
        self._producer = Producer(
            settings.kafka.librdkafka()
            | {"partitioner": "murmur2_random", "compression.type": "lz4", "linger.ms": 5}
        )
        self.clicks: defaultdict[Source, list[float]] = defaultdict(list)
        self.records = self.size = 0
        self.latest = 0.0
        """How late (s) an event was produced at worst."""

    def run(self) -> None:
        """Until all is produced."""
        start = int(time.time() * 1000) + 1_000
        for timed in self._events(start):
            now = time.time()
            while timed.ts / 1000 > now:
                self._producer.poll(0)
                time.sleep(STEP)
                now = time.time()
            self.latest = max(self.latest, now - timed.ts / 1000)
            self._send(timed, now)
        self._producer.flush(30)

    def _send(self, timed: Timed, now: float) -> None:
        key, ts, value = timed.event
        name = timed.topic.full_name(self._settings.topics)
        told = partial(self._clicked, timed.pane, now) if timed.pane else None
        while True:
            try:
                self._producer.produce(name, value, key, timestamp=ts, on_delivery=told)
                break
            except BufferError:
                self._producer.poll(STEP)
        self.records += 1
        self.size += len(value)

    def _clicked(self, pane: Key, at: float, error: KafkaError | None, message: Message) -> None:
        partition = message.partition()
        if error is None and partition is not None:
            self.clicks[pane, partition].append(at)

    def _events(self, start: int) -> Iterator[Timed]:
        """In order of time; clicks wait in a heap."""
        waiting: list[Timed] = []
        for first in range(0, self._count, CHUNK):
            slates = Slates(first, min(CHUNK, self._count - first), start, self._rate)
            for click in slates.clicks():
                heapq.heappush(waiting, Timed(click.event.ts, topics.FEEDBACK, click.event, click.pane))
            for request, prediction in zip(slates.requests(), slates.predictions(), strict=True):
                while waiting and waiting[0].ts <= request.ts:
                    yield heapq.heappop(waiting)
                yield Timed(request.ts, topics.REQUESTS, request, None)
                yield Timed(prediction.ts, topics.PREDICTIONS, prediction, None)


class Watch:
    """Reads `metrics.panes` as it grows, in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._follower = Follower(settings, topics.PANES)
        self._follower.refresh()
        self._codec: Codec[PaneRecord] = Codec(PaneRecord)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seen: list[Seen] = []
        self.size = self.snapshots = 0
        self.begun = threading.Event()
        """The join has said its first word."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            for entry in self._follower.poll(0.1):
                at = time.time()
                self.begun.set()
                self.size += len(entry.value or b"") + len(entry.key or b"")
                pane = self._codec.decode(entry.value)
                if isinstance(pane, Pane):
                    self.snapshots += 1
                    if not pane.segment and pane.version:
                        source = (Key(pane.version, pane.arm, pane.start), pane.partition)
                        self.seen.append(Seen(source, int(pane.sums.get("clicks", 0)), at))


def measure(seconds: int) -> str:
    """So many seconds of traffic, after some to warm up."""
    with LocalStack() as stack:
        warm_up(stack.settings)
        settings = prepare(stack.settings, "live.", workload.policy())
        watch = Watch(settings)
        with log_of("live").open("wb") as log:
            child = stage(settings, log, "streams.worker", "join")
        process = processes.of(child.pid)
        try:
            if not watch.begun.wait(STARTING):
                raise TimeoutError(f"the join has written nothing to {topics.PANES.name} in {STARTING:.0f} s")
            traffic = Traffic(settings, seconds + int(WARM))
            began, before = time.time(), processes.usage(process)
            traffic.run()
            size, lasted = watch.size, time.time() - began
            used = processes.usage(process)
            time.sleep(TAIL)
        finally:
            processes.end(process)
        watch.stop()
    delays = np.array(_delays(traffic, watch.seen, began + WARM))
    missing = sum(map(len, traffic.clicks.values())) - len(_delays(traffic, watch.seen, 0.0))
    return (
        f"live: {traffic.records / lasted:,.0f} events/s for {seconds} s (produced at most "
        f"{1000 * traffic.latest:,.0f} ms late), "
        f"{(used.cpu - before.cpu) / lasted:.0%} of a core, {used.memory:,.0f} MiB\n"
        f"live: click to its pane in metrics.panes: p50 {1000 * np.percentile(delays, 50):,.0f} ms, "
        f"p99 {1000 * np.percentile(delays, 99):,.0f} ms, longest {1000 * delays.max():,.0f} ms of "
        f"{len(delays):,}; {missing} not seen {TAIL:.0f} s after the end\n"
        f"live: {size:,} bytes written to metrics.panes for {traffic.size:,} read: "
        f"{size / traffic.size:.1%}, "
        f"{watch.snapshots:,} snapshots of {size / max(1, watch.snapshots):,.0f} bytes"
    )


def _delays(traffic: Traffic, seen: list[Seen], since: float) -> list[float]:
    """Seconds from each click that was produced after `since` to the first snapshot of its pane that has it.

    Of one pane and source partition clicks are counted in the order of the log, so the j-th is in the first
    snapshot that has j.
    """
    delays: list[float] = []
    counted: defaultdict[Source, int] = defaultdict(int)
    for source, clicks, at in seen:
        produced = traffic.clicks.get(source, [])
        new = produced[counted[source] : clicks]
        delays += [at - click for click in new if click >= since]
        counted[source] = max(counted[source], clicks)
    return delays
