"""The demo's shop: sends visits as requests, sees the answers, clicks and rates after a while, and keeps its
own books.

The books are kept from what the shop itself sent and saw, so that they can be held against what ClickHouse
says.
"""

import heapq
import random
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import msgspec
from confluent_kafka import Consumer, TopicPartition

from infra.demo.visits import Visit
from schemas import topics
from schemas.records import ENCODER, Codec, Feedback, Prediction, Request
from schemas.settings import Settings
from streams.log import TIMEOUT, Output, answer, layout

SHOWN = 10
"""Films on the page: the first so many of the ranking."""

MEAN_DELAY = 1.0
"""Seconds to a click or a rating, exponential."""

LONGEST_DELAY = 4.0
"""Seconds after which nobody clicks any more; well within the policy's attribution window."""

CUTOFFS = (5, 10)
"""The policy's `k`."""

PAUSE = 0.01
"""Seconds between two looks at what is due."""


@dataclass
class Book:
    """What the shop counted of one version."""

    predictions: int = 0
    impressions: int = 0
    clicks: int = 0
    relevant: int = 0
    hits: dict[int, int] = field(default_factory=lambda: dict.fromkeys(CUTOFFS, 0))

    def as_metrics(self) -> dict[str, int]:
        """By the name of the metric whose numerator it must be (for `relevant`: recall's denominator)."""
        return {
            "predictions": self.predictions,
            "impressions": self.impressions,
            "clicks": self.clicks,
            "relevant": self.relevant,
            **{f"recall@{k}": hits for k, hits in self.hits.items()},
        }


class Shop(threading.Thread):
    """Sends `rate` requests a second until `close`, then only what is still owed; `books` are by version.

    `visits` may be exchanged while it runs: the next request is the next visit of the new ones.
    """

    def __init__(
        self, settings: Settings, model: str, visits: Iterator[Visit], rate: float, seed: int
    ) -> None:
        super().__init__(name="shop", daemon=True)
        self.visits = visits
        self.books: dict[str, Book] = {}
        self.requests = 0
        self.feedback = 0
        self.errors: list[str] = []
        self.failure: BaseException | None = None
        self._model = model
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311 (a simulation)
        self._output = Output(settings)
        self._answers = _from_now_on(settings)
        self._codec: Codec[Prediction] = Codec(Prediction)
        self._open: dict[str, Visit] = {}
        self._due: list[tuple[float, int, Feedback]] = []
        self._closing = threading.Event()

    @property
    def waiting(self) -> int:
        """Requests without an answer yet."""
        return len(self._open)

    def close(self, timeout: float) -> None:
        """No more requests; returns when all are answered and all feedback is sent, or after `timeout`
        seconds.
        """
        self._closing.set()
        self.join(timeout)

    def run(self) -> None:
        """The thread's work: requests at an even pace, answers as they come, feedback when it is due."""
        try:
            self._trade()
        except BaseException as error:  # whoever waits for us must hear of it
            self.failure = error
            raise

    def _trade(self) -> None:
        began = time.monotonic()
        while not (self._closing.is_set() and not self._open and not self._due):
            now = time.monotonic()
            if not self._closing.is_set():
                while self.requests < (now - began) * self._rate:
                    self._ask(next(self.visits))
            for message in self._answers.consume(1_000, PAUSE):
                if message.error() is None:
                    self._read(self._codec.decode(message.value()), now)
            while self._due and self._due[0][0] <= now:
                self._say(heapq.heappop(self._due)[2])
        self._output.flush()
        self._answers.close()

    def _ask(self, visit: Visit) -> None:
        request_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        self._open[request_id] = visit
        self.requests += 1
        request = Request(
            request_id=request_id,
            ts=_now(),
            model=self._model,
            items=list(visit.items),
            inputs={name: msgspec.Raw(ENCODER.encode(value)) for name, value in visit.inputs.items()},
            features=dict(visit.features),
            user=visit.user,
            surface="home",
            k=SHOWN,
        )
        self._send(topics.REQUESTS, request_id, ENCODER.encode(request))

    def _read(self, prediction: Prediction, now: float) -> None:
        visit = self._open.pop(prediction.request_id, None)
        if visit is None:
            return  # an answer that was given twice, or not to us
        book = self.books.setdefault(prediction.version, Book())
        book.predictions += 1
        if prediction.status != "ok":
            self.errors.append(f"{prediction.status}: {prediction.error}")
            return
        ranking = [int(item) for item in prediction.items or ()]
        shown = ranking[: prediction.shown]
        book.impressions += len(shown)
        for item in visit.relevant:
            book.relevant += 1
            for k in CUTOFFS:
                book.hits[k] += item in ranking[:k]
            kind = "click" if item in shown else "relevant"
            book.clicks += kind == "click"
            delay = min(self._random.expovariate(1 / MEAN_DELAY), LONGEST_DELAY)
            said = Feedback(
                request_id=prediction.request_id, ts=_now() + round(delay * 1000), kind=kind, item=item
            )
            heapq.heappush(self._due, (now + delay, self.feedback + len(self._due), said))

    def _say(self, feedback: Feedback) -> None:
        self.feedback += 1
        self._send(topics.FEEDBACK, feedback.request_id, ENCODER.encode(feedback))

    def _send(self, topic: topics.Topic, request_id: str, value: bytes) -> None:
        self._output.send(topic, request_id, value)


def _from_now_on(settings: Settings) -> Consumer:
    """Reads the predictions from here on, of all partitions, in no group."""
    group = f"headgate-demo-{uuid.uuid4()}"
    consumer = Consumer(settings.kafka.librdkafka() | {"group.id": group, "enable.auto.commit": False})
    name = topics.PREDICTIONS.full_name(settings.topics)
    partitions = [TopicPartition(name, p) for p in range(layout(settings, topics.PREDICTIONS).partitions)]
    for partition in partitions:
        partition.offset = answer(partial(consumer.get_watermark_offsets, partition, TIMEOUT))[1]
    consumer.assign(partitions)
    return consumer


def _now() -> int:
    return time.time_ns() // 1_000_000
