"""The worker's line to the rest: releases and policies in; acks, heartbeats and reference profiles out. A
thread of its own.

Releases and policies are read to their end before `ready` is set, then followed; a release is seen some
milliseconds after it is written. What a release means is `releases.py`'s business.
"""

import logging
import threading
import time
from collections.abc import Sequence

import msgspec
from confluent_kafka import KafkaException

from schemas import signing, topics
from schemas.errors import HeadgateError
from schemas.policies import Policy
from schemas.records import ENCODER, Ack, Codec, Release
from schemas.settings import Settings
from schemas.timeline import Timeline
from serving import runtime
from serving.engine import Clock, State
from serving.outage import Outage
from serving.releases import Releases, Word
from serving.repository import Repository
from serving.runtime import Runtime
from streams.log import Entry, Follower, Output

log = logging.getLogger("headgate.serving")

HEARTBEAT = 5.0
"""Seconds between heartbeats; a worker is live for three of them."""

GLANCE = 1.0
"""Seconds between looks at what changes seldom: policies, and which models the repository has."""

IDLE, LOADING = 0.1, 0.02
"""Seconds to wait for a release; less while a load may end any moment."""

PATIENCE = 3.0
"""Seconds until Kafka's silence at the start counts as its being away."""

BACKOFF = (0.5, 5.0)
"""Seconds between tries while it is: the first pause, and the longest."""


class Control(threading.Thread):
    """Follows the releases of `only` (all models of the repository where that is empty), as worker `worker`.

    Sets `stop` where it cannot go on; `failure` is then why.
    """

    def __init__(
        self,
        settings: Settings,
        repository: Repository,
        only: Sequence[str],
        output: Output,
        outage: Outage,
        stop: threading.Event,
        worker: str,
        clock: Clock,
        threads: int,
    ) -> None:
        super().__init__(name="control", daemon=True)
        self._settings = settings
        self._repository = repository
        self._only = only
        self._output = output
        self._outage = outage
        self._stop_event = stop
        self._worker = worker
        self._clock = clock
        self._threads = threads
        self._releases = Releases(repository, self._load, self._acknowledge)
        self._timeline = Timeline()
        self._codec: Codec[Release] = Codec(Release)
        self._keys = signing.keyring(settings.signing)
        self._available: dict[str, list[str]] = {}
        self._profiles_sent: set[tuple[str, str]] = set()
        self._next_beat = self._next_glance = 0.0
        self.models: Sequence[str] = ()
        """Those that are served here, as of the last glance."""
        self.ready = threading.Event()
        self.failure: Exception | None = None

    def serves(self, model: str) -> bool:
        """Whether requests for `model` are answered here: one of `only`, or whatever the repository has."""
        return model in self.models or (model in self._only if self._only else model in self._repository)

    def state(self, model: str) -> State:
        """How `model` is served now."""
        return self._releases.state(model)

    def policy(self, model: str) -> Policy:
        """The policy in force for `model` now."""
        return self._timeline.at(model, int(self._clock()))

    def limits(self) -> tuple[int, float]:
        """How many requests to collect, and how many ms to wait for them."""
        return self._releases.limits()

    def loaded(self) -> list[str]:
        """What is in memory, as `model/version`."""
        standing = self._releases.standing(self.models)
        return [f"{model}/{version}" for model, (_, versions) in standing.items() for version in versions]

    def run(self) -> None:
        """The thread's work, until `stop`."""
        releases = Follower(self._settings, topics.RELEASES, self._outage.notice)
        policies = Follower(self._settings, topics.POLICIES, self._outage.notice)
        try:
            for entry in self._read_whole(policies):
                self._take_policy(entry)
            for entry in self._read_whole(releases):
                self._take_release(entry)
            while not self._stop_event.is_set():
                self._glance(policies)
                self._beat()
                loading = self._releases.step(self.models)
                if not loading:
                    self.ready.set()
                for entry in releases.poll(LOADING if loading else IDLE):
                    self._take_release(entry)
        except Exception as error:  # whatever it is, the worker must not go on serving what nobody steers
            self.failure = error
        finally:
            self._stop_event.set()
            self.ready.set()
            self._releases.close()
            releases.close()
            policies.close()

    def _read_whole(self, follower: Follower) -> list[Entry]:
        """All of a topic as it is now, however long Kafka is away."""
        pause, longest = BACKOFF
        while not self._stop_event.is_set():
            try:
                entries = follower.refresh(PATIENCE)
            except KafkaException as error:
                follower.poll(0)  # for its errors: they say more than that time is up
                self._outage.begin(error.args[0])
                self._stop_event.wait(pause)
                pause = min(2 * pause, longest)
            else:
                self._outage.end()
                return entries
        return []

    def _take_release(self, entry: Entry) -> None:
        if entry.value is None:  # a tombstone
            return
        try:
            release = self._codec.decode(entry.value)
        except msgspec.DecodeError as error:
            log.error(
                "control.releases, partition %d, offset %d: ignored: %s", entry.partition, entry.offset, error
            )
            return
        mistake = self._keys.mistake(entry.value, entry.headers)
        if mistake is None:
            self._releases.take(release)
        else:
            self._releases.refuse(release, mistake)

    def _take_policy(self, entry: Entry) -> None:
        try:
            self._timeline.read(entry.value, entry.timestamp)
        except HeadgateError as error:
            log.error(
                "control.policies, partition %d, offset %d: ignored: %s", entry.partition, entry.offset, error
            )

    def _glance(self, policies: Follower) -> None:
        now = time.monotonic()
        if now < self._next_glance:
            return
        self._next_glance = now + GLANCE
        for entry in policies.poll(0):
            self._take_policy(entry)
        found = self._repository.models()
        self.models = [model for model in self._only if model in found] if self._only else found
        available = {model: self._repository.versions(model) for model in self.models}
        if available != self._available:
            self._available = available
            self._next_beat = now  # whoever starts a version that has just come need not wait for it
        if self._outage.suspected:
            self._look_for_kafka(policies)

    def _look_for_kafka(self, follower: Follower) -> None:
        try:
            entries = follower.refresh(GLANCE)
        except KafkaException as error:
            self._outage.begin(error.args[0])
            return
        self._outage.end()
        for entry in entries:
            self._take_policy(entry)

    def _beat(self) -> None:
        now = time.monotonic()
        if now < self._next_beat:
            return
        self._next_beat = now + HEARTBEAT
        for model, (generation, versions) in self._releases.standing(self.models).items():
            self._send(
                Ack(
                    model=model,
                    worker=self._worker,
                    ts=int(self._clock()),
                    kind="heartbeat",
                    generation=generation,
                    loaded=versions,
                    available=self._available.get(model, []),
                )
            )

    def _acknowledge(self, word: Word) -> None:
        if word.status == "failed":
            log.error("%s: generation %d failed: %s", word.model, word.generation, word.error)
        elif word.status == "applied":
            log.info(
                "%s: generation %d applied; in memory: %s",
                word.model,
                word.generation,
                ", ".join(word.loaded),
            )
        self._send(
            Ack(
                model=word.model,
                worker=self._worker,
                ts=int(self._clock()),
                kind="ack",
                generation=word.generation,
                status=word.status,
                loaded=word.loaded,
                error=word.error,
            )
        )

    def _send(self, ack: Ack) -> None:
        self._output.send(topics.ACKS, ack.model, ENCODER.encode(ack))

    def _load(self, model: str, version: str) -> Runtime:
        """In the loader's thread. The reference profile goes out with the version's first load, before
        anything is answered by it."""
        package = self._repository.open(model, version)
        loaded = runtime.load(package, self._threads)
        if package.profile is not None and (model, version) not in self._profiles_sent:
            self._profiles_sent.add((model, version))
            self._output.send(topics.PROFILES, f"{model}/{version}", ENCODER.encode(package.profile))
        return loaded
