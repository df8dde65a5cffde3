"""The notify stage's process between a real Kafka and real HTTP servers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, TopicPartition

from schemas import topics
from schemas.receivers import Notify
from schemas.records import ENCODER, Alert, Codec, DeadLetter, Silence
from schemas.settings import Settings
from schemas.topics import Topic
from streams.log import Follower, Output
from streams.notify import silencing
from streams.registry import group

PATIENCE = 60.0


def now() -> int:
    return time.time_ns() // 1_000_000


def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Returns once it does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "was waited for in vain"
        time.sleep(0.05)


class Notifier:
    """A process of the stage, with its log."""

    def __init__(self, settings: Settings, notify: Notify, log: Path) -> None:
        self.log = log
        streams = msgspec.structs.replace(settings.streams, health="off", session=3.0)
        mine = msgspec.structs.replace(settings, notify=notify, streams=streams)
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams.worker", "notify", str(os.getpid())],
                stdin=subprocess.PIPE,
                stderr=stderr,
            )
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            stdin.write(msgspec.json.encode(mine))

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status, after the signal."""
        self.process.send_signal(number)
        return self.process.wait(40)


class Log:
    """Kafka, as these tests write to it and read from it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._output = Output(settings)

    def write(self, *alerts: Alert) -> None:
        for alert in alerts:
            self._output.send(topics.ALERTS, alert.model, ENCODER.encode(alert))
        self._output.flush()

    def write_raw(self, value: bytes | None) -> None:
        self._output.send(topics.ALERTS, "ranker", value)
        self._output.flush()

    def silence(self, model: str, until_: int, **fields: str) -> Silence:
        """All alerts of a model, from now on."""
        silence = Silence(
            model=model,
            silence_id=f"s-{model}",
            ts=now(),
            ends_at=until_,
            actor="ada",
            reason="test",
            rule=fields.get("rule"),
        )
        self.write_silence(silence)
        return silence

    def write_silence(self, silence: Silence) -> None:
        self._output.send(topics.SILENCES, silencing.key(silence), ENCODER.encode(silence))
        self._output.flush()

    def letters(self) -> list[DeadLetter]:
        codec: Codec[DeadLetter] = Codec(DeadLetter)
        follower = Follower(self.settings, topics.DEAD_LETTERS)
        try:
            return [codec.decode(entry.value) for entry in follower.refresh()]
        finally:
            follower.close()

    def kept(self) -> list[bytes]:
        """What `alerts.open` holds."""
        return [value for value in self.last(topics.OPEN_ALERTS).values() if value is not None]

    def last(self, topic: Topic) -> dict[bytes | None, bytes | None]:
        """A topic's last value of each key."""
        follower = Follower(self.settings, topic)
        try:
            return {entry.key: entry.value for entry in follower.refresh()}
        finally:
            follower.close()

    def lag(self) -> int:
        """How many records a successor would read."""
        config = {"group.id": group("notify", self.settings), "enable.auto.commit": False}
        consumer = Consumer(self.settings.kafka.librdkafka() | config)
        try:
            place = TopicPartition(topics.ALERTS.full_name(self.settings.topics), 0)
            low, high = consumer.get_watermark_offsets(place, 10)
            (committed,) = consumer.committed([place], 10)
            return high - (committed.offset if committed.offset >= 0 else low)
        finally:
            consumer.close()
