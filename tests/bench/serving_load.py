"""Requests for a serving worker, at a pace or all at once, and what became of each, seen from outside."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as Partition

from schemas import topics
from schemas.records import Codec, Prediction
from schemas.settings import Settings
from streams import log
from streams.log import Follower
from tests.bench import serving_nets
from tests.bench.serving_nets import Net

PATIENCE = 60.0
"""Seconds without an answer after which a run has failed."""
MILLISECOND = 0.001
GLANCE = 0.2
"""Seconds between looks at how many answers there are."""

Floats = npt.NDArray[np.float64]


class Answer(NamedTuple):
    """A prediction, when its request was written (epoch ms), and when it was itself."""

    asked: int
    written: int
    prediction: Prediction

    @property
    def started(self) -> float:
        """When its run began (epoch ms)."""
        return self.asked + (self.prediction.queue_ms or 0.0)

    @property
    def ended(self) -> float:
        """When its run ended (epoch ms)."""
        return self.started + (self.prediction.infer_ms or 0.0)

    @property
    def handed_over(self) -> float:
        """When it was given to Kafka's client (epoch ms)."""
        return self.asked + self.prediction.latency_ms


class Traffic:
    """Writes requests and reads predictions; of each request the first answer counts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = topics.REQUESTS.full_name(settings.topics)
        self._producer = Producer(
            settings.kafka.librdkafka()
            | {
                "partitioner": "murmur2_random",
                # One request a record batch would keep the broker busy, which has the worker's processors.
                "linger.ms": 1,
                "queue.buffering.max.messages": 1_000_000,
                "queue.buffering.max.kbytes": 2_000_000,
            }
        )
        self._watcher = Consumer(settings.kafka.librdkafka() | {"group.id": "bench"})
        self._before = self._written()
        self._since = _now()
        self._follower: Follower | None = None
        self._codec: Codec[Prediction] = Codec(Prediction)
        self._asked: dict[str, int] = {}
        self._runs = 0
        self._answers: dict[str, Answer] = {}

    def requests(self, net: Net, count: int) -> list[tuple[str, bytes]]:
        """New ones, made before they are needed."""
        self._runs += 1
        return list(serving_nets.requests(net, count, seed=self._runs, ts=_now()))

    def write(self, requests: Sequence[tuple[str, bytes]]) -> None:
        """All at once."""
        for request in requests:
            self._send(*request)
        self._producer.flush(PATIENCE)

    def pace(self, requests: Sequence[tuple[str, bytes]], rate: float) -> Iterator[int]:
        """`rate` a second, at random times (a Poisson process); yields each one's number as it goes."""
        gaps = np.random.default_rng(0).exponential(1 / rate, len(requests))
        due = time.monotonic() + np.cumsum(gaps)
        for number, (request, at) in enumerate(zip(requests, due.tolist(), strict=True)):
            while (left := at - time.monotonic()) > 0:
                self._producer.poll(0)
                time.sleep(min(left, MILLISECOND))
            self._send(*request)
            yield number
        self._producer.flush(PATIENCE)

    def await_written(self, count: int) -> None:
        """Until so many answers more than at first stand in the log; only their number is asked for, now and
        then. Raises `TimeoutError` when none comes for a minute."""
        since, last = time.monotonic(), 0
        while (written := self._written() - self._before) < count:
            if written > last:
                since, last = time.monotonic(), written
            elif time.monotonic() > since + PATIENCE:
                raise TimeoutError(f"{written} of {count} requests are answered, and no more come")
            time.sleep(GLANCE)

    def collect(self, requests: Sequence[tuple[str, bytes]]) -> list[Answer]:
        """The answers to all of these, in their order; nothing is read before that is asked for. Raises
        `TimeoutError` when none comes for a minute."""
        missing = {request_id for request_id, _ in requests} - self._answers.keys()
        since = time.monotonic()
        while missing:
            if self._listen():
                since = time.monotonic()
                missing -= self._answers.keys()
            elif time.monotonic() > since + PATIENCE:
                raise TimeoutError(f"{len(missing)} of {len(requests)} requests are not answered")
            else:
                time.sleep(0.01)
        return [self._answers.pop(request_id) for request_id, _ in requests]

    def close(self) -> None:
        """Ends the readers."""
        self._watcher.close()
        if self._follower is not None:
            self._follower.close()

    def _listen(self) -> bool:
        """Takes what has been answered so far, and says whether that is anything."""
        if self._follower is None:
            self._follower = Follower(self._settings, topics.PREDICTIONS, since=self._since)
            entries = self._follower.refresh()
        else:
            entries = self._follower.poll(0)
        for entry in entries:
            prediction = self._codec.decode(entry.value)
            asked = self._asked.get(prediction.request_id)
            if asked is not None:
                self._answers.setdefault(prediction.request_id, Answer(asked, entry.timestamp, prediction))
        return bool(entries)

    def _written(self) -> int:
        """Records of the predictions' topic."""
        name = topics.PREDICTIONS.full_name(self._settings.topics)
        partitions = self._watcher.list_topics(name, PATIENCE).topics[name].partitions

        def end(number: int) -> int:
            return int(self._watcher.get_watermark_offsets(Partition(name, number), PATIENCE)[1])

        return sum(log.answer(partial(end, number)) for number in partitions)

    def _send(self, request_id: str, value: bytes) -> None:
        self._asked[request_id] = now = _now()
        self._producer.produce(self._topic, value, request_id, timestamp=now)
        self._producer.poll(0)


def rate(answers: Sequence[Answer]) -> float:
    """Answers a second, from a tenth of them on to the last: before, the worker starts."""
    written = sorted(answer.written for answer in answers)
    rest = written[len(written) // 10 :]
    return len(rest) / max(1, rest[-1] - rest[0]) * 1000


def percentile(values: Sequence[float] | Floats, q: float) -> float:
    """The q-th percentile."""
    return float(np.percentile(np.asarray(values), q))


def added(answers: Sequence[Answer], wait_ms: float) -> Floats:
    """What serving adds to each answer (ms): the time before its run in which nothing else ran, beyond
    `wait_ms`; and that from its run's end to its handing over.

    Runs of earlier batches count as inference: one session has one queue, whoever serves it.
    """
    runs = sorted({(answer.started, answer.ended) for answer in answers})
    knots: list[float] = []
    for start, end in runs:
        if knots and start <= knots[-1]:
            knots[-1] = max(knots[-1], end)
        else:
            knots += [start, end]
    busy = np.cumsum([0.0, *(gap if n % 2 == 0 else 0.0 for n, gap in enumerate(np.diff(knots)))])
    asked, started, ended, handed = np.array(
        [(answer.asked, answer.started, answer.ended, answer.handed_over) for answer in answers]
    ).T
    idle = (started - asked) - (np.interp(started, knots, busy) - np.interp(asked, knots, busy))
    beyond: Floats = np.maximum(0.0, idle - wait_ms) + np.maximum(0.0, handed - ended)
    return beyond


def _now() -> int:
    return time.time_ns() // 1_000_000
