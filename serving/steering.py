"""The two lines between whoever serves and whoever decides: `control.releases` in, `control.acks` out.
`control.py` steers Headgate's own workers over them, `follower.py` other people's.

Light to import: neither ONNX Runtime nor the stages' compiled code comes with it.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message

from schemas import signing, topics
from schemas.records import ENCODER, Ack, Codec, Release
from schemas.settings import Settings
from schemas.topics import Topic
from serving.jobs import Clock
from serving.outage import Outage
from streams.log import UNDELIVERED, Entry, Follower, Output

log = logging.getLogger("headgate.serving")

HEARTBEAT = 5.0
"""Seconds between heartbeats; a worker is live for three of them."""

GLANCE = 1.0
"""Seconds between looks at what changes seldom."""

IDLE, BUSY = 0.1, 0.02
"""Seconds to wait for a release; less while a version that is being loaded may be there any moment."""

PATIENCE = 3.0
"""Seconds until Kafka's silence at the start counts as its being away."""

BACKOFF = (0.5, 5.0)
"""Seconds between tries while it is: the first pause, and the longest."""

Status = Literal["applied", "loading", "failed"]

Subject = tuple[Topic, str]
"""What a word is about: its topic and key."""


class Watch:
    """A control topic, read whole and then followed, however often Kafka is away meanwhile; until `stop`.

    Raises `HeadgateError` where the topic does not exist.
    """

    def __init__(self, settings: Settings, topic: Topic, outage: Outage, stop: threading.Event) -> None:
        self._follower = Follower(settings, topic, outage.notice)
        self._outage = outage
        self._stop = stop

    def whole(self) -> list[Entry]:
        """All of the topic as it is now; waits for Kafka. Nothing once `stop` is set."""
        pause, longest = BACKOFF
        while not self._stop.is_set():
            try:
                entries = self._follower.refresh(PATIENCE)
            except KafkaException as error:
                self._follower.poll(0)  # for its errors: they say more than that time is up
                self._outage.begin(error.args[0])
                self._stop.wait(pause)
                pause = min(2 * pause, longest)
            else:
                self._outage.end()
                return entries
        return []

    def poll(self, timeout: float) -> list[Entry]:
        """What has come since, waiting at most `timeout` seconds for the first."""
        return self._follower.poll(timeout)

    def look(self) -> list[Entry]:
        """The same, and finds out whether Kafka is there, which may take `GLANCE` seconds."""
        try:
            entries = self._follower.refresh(GLANCE)
        except KafkaException as error:
            self._outage.begin(error.args[0])
            return []
        self._outage.end()
        return entries

    def close(self) -> None:
        """Ends the reader."""
        self._follower.close()


class Wanted(NamedTuple):
    """A release that was read, and what is wrong with its signature, if anything."""

    release: Release
    mistake: str | None


class ReleaseReader:
    """Reads records of `control.releases`: decodes them, and checks signatures where a key is configured."""

    def __init__(self, settings: Settings) -> None:
        self._keys = signing.keyring(settings.signing)
        self._codec: Codec[Release] = Codec(Release)

    def read(self, entries: Sequence[Entry]) -> Iterator[Wanted]:
        """The releases among `entries`; what is none is said and left out."""
        for entry in entries:
            if entry.value is None:  # a tombstone
                continue
            try:
                release = self._codec.decode(entry.value)
            except msgspec.DecodeError as error:
                place = f"{topics.RELEASES.name}, partition {entry.partition}, offset {entry.offset}"
                log.error("%s: ignored: %s", place, error)
            else:
                yield Wanted(release, self._keys.mistake(entry.value, entry.headers))


class Voice:
    """What a worker says: acks, heartbeats, and what else is to be said once. Safe from several threads.

    What Kafka did not take in two minutes, for it was away, is said again (`mend`) until it has: of each
    topic and key the last word. What is only mentioned is not.
    """

    def __init__(self, settings: Settings, worker: str, clock: Clock) -> None:
        self._output = Output(settings)
        self._worker = worker
        self._clock = clock
        self._lock = threading.RLock()  # while it is held, the client may tell what became of a record
        self._unheard: dict[Subject, bytes] = {}
        self._lost: set[Subject] = set()

    def acknowledge(
        self, model: str, generation: int, status: Status, loaded: Sequence[str], error: str | None = None
    ) -> None:
        """How it stands with a generation, in the log as well as on the topic."""
        if status == "failed":
            log.error("%s: generation %d failed: %s", model, generation, error)
        elif status == "applied":
            log.info("%s: generation %d applied; in memory: %s", model, generation, ", ".join(loaded))
        ack = Ack(
            model=model,
            worker=self._worker,
            ts=int(self._clock()),
            kind="ack",
            generation=generation,
            status=status,
            loaded=list(loaded),
            error=error,
        )
        self.publish(topics.ACKS, model, ENCODER.encode(ack))

    def beat(
        self, model: str, generation: int, loaded: Sequence[str], available: Sequence[str] | None = None
    ) -> None:
        """A heartbeat: the generation in force (0: none yet), the versions in memory, and those that could
        be loaded, where that is known."""
        beat = Ack(
            model=model,
            worker=self._worker,
            ts=int(self._clock()),
            kind="heartbeat",
            generation=generation,
            loaded=list(loaded),
            available=None if available is None else list(available),
        )
        self.mention(topics.ACKS, model, ENCODER.encode(beat))

    def mention(self, topic: Topic, key: str, value: bytes) -> None:
        """Says something that others of its kind will follow."""
        self._output.send(topic, key, value)

    def publish(self, topic: Topic, key: str, value: bytes) -> None:
        """Says something that must be heard."""
        with self._lock:
            self._unheard[topic, key] = value
            self._lost.discard((topic, key))
            self._say((topic, key), value)

    def wait(self, timeout: float) -> None:
        """Waits at most `timeout` seconds until Kafka has taken what has been said so far."""
        with contextlib.suppress(KafkaException):  # `mend` says it again
            self._output.flush(timeout)

    def mend(self) -> None:
        """Says again what was not heard; to be called about every second, and never waits."""
        with contextlib.suppress(KafkaException):  # about what was only mentioned
            self._output.flush(0)
        with self._lock:
            lost, self._lost = self._lost, set()
            for subject in lost:
                log.info("%s (%s) is said again: Kafka has not taken it", subject[0].name, subject[1])
                self._say(subject, self._unheard[subject])

    def _say(self, subject: Subject, value: bytes) -> None:
        def told(error: KafkaError | None, _message: Message) -> None:
            with self._lock:
                if self._unheard.get(subject) is not value:  # there has been a later word
                    return
                if error is not None and error.code() in UNDELIVERED:
                    self._lost.add(subject)
                    return
                del self._unheard[subject]
            if error is not None:
                log.error("%s (%s): Kafka does not take it: %s", subject[0].name, subject[1], error.str())

        self._output.send(*subject, value, told=told)

    def close(self, timeout: float) -> None:
        """Waits at most `timeout` seconds until all is said."""
        try:
            self._output.flush(timeout)
        except KafkaException as error:
            log.warning("not all was said: %s", error.args[0].str())
