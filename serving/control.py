"""The worker's line to the rest: releases and policies in; acks, heartbeats and reference profiles out. A
thread of its own.

Releases and policies are read to their end before `ready` is set, then followed; a release is seen some
milliseconds after it is written. What a release means is `releases.py`'s business.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from schemas import topics
from schemas.errors import HeadgateError
from schemas.policies import Policy
from schemas.records import ENCODER, Sample
from schemas.settings import Settings
from schemas.timeline import Timeline
from serving import devices, runtime
from serving.engine import State
from serving.jobs import Clock
from serving.outage import Outage
from serving.pace import Pace, restless
from serving.releases import Releases, Standing, Word
from serving.repository import Repository
from serving.runtime import Runtime
from serving.steering import BUSY, GLANCE, HEARTBEAT, IDLE, ReleaseReader, Voice, Watch
from serving.sums import Ahead, Sums
from streams.log import Entry

log = logging.getLogger("headgate.serving")

LOADING_NICENESS = 10
"""Of the threads that load and sum, so that they give way to batches: Linux has priorities by thread. Of the
loader's only where sessions make no threads, for those inherit it, and would run batches with it."""

HEARD = 1.0
"""Seconds that a load waits at most until Kafka has its version's reference profile: the join counts by it
what comes after it."""

FAREWELL = 1.0
"""Seconds that a worker which is told to stop waits for Kafka to take its last words."""


class Control(threading.Thread):
    """Follows the releases of `only` (all models of the repository where that is empty), as worker `worker`.

    `guard` is entered around the load of each model's version, and may refuse it by a `HeadgateError`. Sets
    `stop` where it cannot go on; `failure` is then why. Raises `HeadgateError` where the settings ask
    for a device that ONNX Runtime cannot use here.
    """

    def __init__(
        self,
        settings: Settings,
        repository: Repository,
        only: Sequence[str],
        outage: Outage,
        stop: threading.Event,
        worker: str,
        clock: Clock,
        threads: int,
        guard: Callable[[str, str], AbstractContextManager[None]],
    ) -> None:
        super().__init__(name="control", daemon=True)
        self._settings = settings
        self._repository = repository
        self._only = only
        self._outage = outage
        self._stop_event = stop
        self._voice = Voice(settings, worker, clock)
        self._clock = clock
        self._guard = guard
        self._execution = devices.execution(settings.serving, threads, runtime.available(), devices.gpus())
        self._releases = Releases(
            repository, self._load, self._acknowledge, settings.serving.memory_mib << 20
        )
        self._timeline = Timeline()
        self._reader = ReleaseReader(settings)
        self._available: dict[str, list[str]] = {}
        self._profiles_sent: set[tuple[str, str]] = set()
        self._sums = Sums()
        self._ahead = Ahead(repository, self._sums, _give_way)
        self._next_beat = self._next_glance = 0.0
        self.models: Sequence[str] = ()
        """Those that are served here, as of the last glance."""
        self.ready = threading.Event()
        self.failure: Exception | None = None
        self.beat_at = time.monotonic()
        """When the last heartbeat was due and said (monotonic seconds); before the first, when this began."""

    def serves(self, model: str) -> bool:
        """Whether requests for `model` are answered here: one of `only`, or whatever the repository has or
        has had, as long as a version is in memory: that needs its files no more."""
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
        return [f"{model}/{version}" for model, found in self.standing().items() for version in found.loaded]

    def standing(self) -> Mapping[str, Standing]:
        """How it stands with each model that is served here."""
        return self._releases.standing(self.models)

    def tell(self, sample: Sample) -> None:
        """Writes a sample of the worker's own."""
        self._voice.mention(topics.SAMPLES, sample.model, ENCODER.encode(sample))

    def run(self) -> None:
        """The thread's work, until `stop`."""
        releases = Watch(self._settings, topics.RELEASES, self._outage, self._stop_event)
        policies = Watch(self._settings, topics.POLICIES, self._outage, self._stop_event)
        try:
            for entry in policies.whole():
                self._take_policy(entry)
            self._take_releases(releases.whole())
            self._ahead.start()
            while not self._stop_event.is_set():
                self._glance(policies)
                self._beat()
                loading = self._releases.step(self.models)
                if not loading:
                    self.ready.set()
                self._take_releases(releases.poll(BUSY if loading else IDLE))
        except Exception as error:  # whatever it is, the worker must not go on serving what nobody steers
            self.failure = error
        finally:
            self._stop_event.set()
            self.ready.set()
            self._releases.close()
            releases.close()
            policies.close()
            self._voice.close(FAREWELL)

    def _take_releases(self, entries: Sequence[Entry]) -> None:
        for release, mistake in self._reader.read(entries):
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

    def _glance(self, policies: Watch) -> None:
        now = time.monotonic()
        if now < self._next_glance:
            return
        self._next_glance = now + GLANCE
        self._voice.mend()
        for entry in policies.look() if self._outage.suspected else policies.poll(0):
            self._take_policy(entry)
        found = sorted({*self._repository.models(), *self._releases.serving()})
        self.models = [model for model in self._only if model in found] if self._only else found
        available = {model: self._repository.versions(model) for model in self.models}
        if available != self._available:
            self._available = available
            self._next_beat = now  # whoever starts a version that has just come need not wait for it
        if self.ready.is_set():  # what is wanted at the start is loaded, and the processor free
            self._ahead.look(available)

    def _beat(self) -> None:
        now = time.monotonic()
        if now < self._next_beat:
            return
        self._next_beat = now + HEARTBEAT
        for model, found in self.standing().items():
            self._voice.beat(model, found.applied, found.loaded, self._available.get(model, []))
        self.beat_at = now

    def _acknowledge(self, word: Word) -> None:
        self._voice.acknowledge(word.model, word.generation, word.status, word.loaded, word.error)

    def _load(self, model: str, version: str) -> Runtime:
        """In the loader's thread. The reference profile goes out with the version's first load, before
        anything is answered by it."""
        if self._execution.single_threaded:
            _give_way()
        package = self._repository.open(model, version)
        with self._guard(model, version):
            # Until all is ready for the first time nothing serves beside it.
            rest = Pace(package.onnx).rest if self.ready.is_set() else restless
            loaded = runtime.load(package, self._execution, self._sums, rest)
        if package.profile is not None and (model, version) not in self._profiles_sent:
            self._profiles_sent.add((model, version))
            self._voice.publish(topics.PROFILES, f"{model}/{version}", ENCODER.encode(package.profile))
            self._voice.wait(HEARD)
        return loaded


def _give_way() -> None:
    """Lowers the priority of this thread, for good."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOADING_NICENESS)
