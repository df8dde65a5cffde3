"""The job as a hand-written loop: confluent-kafka, msgspec and dictionaries, at its best.

Batches of 10,000 records, decoded a batch at a call into structs with no field too many; the garbage
collector frozen; predictions forgotten when their pane can get no more clicks.
"""

import gc
import json
import sys
import time

import msgspec
from confluent_kafka import Consumer, Producer

PANE, KEPT = 10_000, 25_000
BATCH, EVERY = 10_000, 1.0


class Prediction(msgspec.Struct, gc=False):
    """What the job needs of a prediction."""

    request_id: str
    ts: int
    model: str
    version: str
    arm: str
    latency_ms: float
    items: list[int]


class Click(msgspec.Struct, gc=False):
    """What the job needs of a click."""

    request_id: str
    ts: int


class Pane:
    """A pane of a series, and the requests that may still be clicked in it."""

    __slots__ = ("changed", "clicks", "ids", "impressions", "latency", "predictions")

    def __init__(self) -> None:
        self.predictions = self.impressions = self.clicks = 0
        self.latency = 0.0
        self.ids: list[str] = []
        self.changed = True


class Loop:
    """The state of the join."""

    def __init__(self, job: dict[str, str]) -> None:
        self._job = job
        self._panes: dict[tuple[str, str, str, int], Pane] = {}
        self._open: dict[str, Pane] = {}
        self._early: dict[str, int] = {}
        self._clocks: dict[tuple[str, int], int] = {}
        self._predictions = msgspec.json.Decoder(list[Prediction])
        self._clicks = msgspec.json.Decoder(list[Click])
        self._producer = Producer(
            {"bootstrap.servers": job["brokers"], "linger.ms": 5, "compression.type": "lz4"}
        )

    def run(self) -> None:
        """Reads for ever."""
        job = self._job
        consumer = Consumer(
            {
                "bootstrap.servers": job["brokers"],
                "group.id": job["group"],
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "queued.max.messages.kbytes": 262_144,
                "queued.min.messages": 1_000_000,
                "fetch.queue.backoff.ms": 10,  # else it pauses for a second wherever its queue is full
            }
        )
        consumer.subscribe([job["predictions"], job["feedback"]])
        emitted = time.monotonic()
        while True:
            values: dict[tuple[str, int], list[bytes]] = {}
            messages = consumer.consume(BATCH, 0.05)
            for message in messages:
                topic, partition, value = message.topic(), message.partition(), message.value()
                if message.error() is None and topic and partition is not None and value:
                    values.setdefault((topic, partition), []).append(value)
            for source, batch in values.items():
                take = self._predicted if source[0] == job["predictions"] else self._clicked
                self._clocks[source] = take(b"[" + b",".join(batch) + b"]")
            if len(messages) < BATCH or time.monotonic() - emitted > EVERY:
                self._emit()
                emitted = time.monotonic()

    def _predicted(self, batch: bytes) -> int:
        panes, opened, early, last = self._panes, self._open, self._early, 0
        for prediction in self._predictions.decode(batch):
            last = prediction.ts
            key = (prediction.model, prediction.version, prediction.arm, last - last % PANE)
            pane = panes.get(key)
            if pane is None:
                pane = panes[key] = Pane()
            pane.predictions += 1
            pane.impressions += len(prediction.items)
            pane.latency += prediction.latency_ms
            pane.changed = True
            request = prediction.request_id
            opened[request] = pane
            pane.ids.append(request)
            if early and (clicks := early.pop(request, 0)):
                pane.clicks += clicks
        return last

    def _clicked(self, batch: bytes) -> int:
        opened, early, last = self._open, self._early, 0
        for click in self._clicks.decode(batch):
            last, request = click.ts, click.request_id
            pane = opened.get(request)
            if pane is None:
                early[request] = early.get(request, 0) + 1
            else:
                pane.clicks += 1
                pane.changed = True
        return last

    def _emit(self) -> None:
        """Snapshots of the panes that changed; forgets those that every partition has passed."""
        passed = min(self._clocks.values()) if len(self._clocks) == int(self._job["partitions"]) else 0
        for (model, version, arm, start), pane in list(self._panes.items()):
            if pane.changed:
                row = {
                    "model": model,
                    "version": version,
                    "arm": arm,
                    "start": start,
                    "predictions": pane.predictions,
                    "impressions": pane.impressions,
                    "clicks": pane.clicks,
                    "latency_ms": pane.latency,
                }
                self._producer.produce(
                    self._job["output"], msgspec.json.encode(row), f"{model}/{version}/{arm}"
                )
                pane.changed = False
            if start + PANE + KEPT < passed:
                for request in pane.ids:
                    self._open.pop(request, None)
                del self._panes[model, version, arm, start]
        self._producer.poll(0)


if __name__ == "__main__":
    gc.freeze()
    gc.disable()
    Loop(json.loads(sys.argv[1])).run()
