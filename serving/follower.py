"""For whoever serves with something else than `headgate serve` (Triton, KServe, BentoML, a server of their
own): follows `control.releases` for some models and makes each release so through a callback.

    def make_so(wish: Wish) -> list[str]:
        server.load(wish.release.stable)
        return [wish.release.stable]

    with Follower(settings, ["ranker"], make_so) as follower:
        ...  # a `Responder` (`responder.py`), or your own loop by `follower.in_force("ranker")`

It acknowledges `loading`, `applied` or `failed`, says every five seconds that it lives, refuses what is not
signed as it must be, ignores older generations, and stays through outages of Kafka. All of it happens in
threads of its own. For other languages: CONTRACT.md beside this file; a whole program:
`examples/triton.py`.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import NamedTuple, Self

from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import Release
from schemas.settings import Settings
from serving.outage import Outage
from serving.steering import BUSY, GLANCE, HEARTBEAT, IDLE, ReleaseReader, Voice, Wanted, Watch

log = logging.getLogger("headgate.serving")

FAREWELL = 5.0
"""Seconds that a follower which is closed waits for Kafka to take its last words."""


class Wish(NamedTuple):
    """A release that is to be made so. `superseded` is set once a newer one is wanted: a load that takes long
    had better look at it, for that one waits."""

    release: Release
    superseded: threading.Event


MakeSo = Callable[[Wish], Iterable[str]]
"""Returns, when the release is in force, the versions in memory; raises where it cannot be, with the old one
still in force: what the exception says is the reason that people read."""


class _Outcome(NamedTuple):
    """What a callback came to: the versions in memory, or why it failed."""

    release: Release
    loaded: Sequence[str]
    reason: str | None


class _Model:
    """What is wanted of a model, what is being made so, and what is in force."""

    def __init__(self) -> None:
        self.wanted: Release | None = None
        self.wish: Wish | None = None
        self.tried = 0
        self.applied: Release | None = None
        self.loaded: Sequence[str] = ()


class Follower:
    """Follows the releases of `models` from `start` to `close`; a context manager that does both.

    `make_so` is called for each model with its newest release, in a thread of its own, never twice at once
    for one model; not for a release that was replaced before its turn. A release whose call failed is not
    tried again: the next one is. `worker` is its name in acks and alerts: another one for each process.
    """

    def __init__(
        self,
        settings: Settings,
        models: Collection[str],
        make_so: MakeSo,
        worker: str | None = None,
    ) -> None:
        """Reads nothing yet. Raises `HeadgateError` for signing keys that cannot be read and for one name in
        place of several, `KafkaException` for settings that the client does not take."""
        self.worker = worker or f"{socket.gethostname()}-{os.getpid()}"
        self._make_so = make_so
        self._models = {model: _Model() for model in _names("models", models)}
        self._reader = ReleaseReader(settings)
        self._outage = Outage(settings.kafka.brokers)
        self._voice = Voice(settings, self.worker, _clock)
        self._outcomes: SimpleQueue[_Outcome] = SimpleQueue()
        self._stop = threading.Event()
        self._watch = Watch(settings, topics.RELEASES, self._outage, self._stop)
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self.ready = threading.Event()
        """Set when the topic has been read to its end and what was wanted then is in force or has failed; and
        where it gives up."""
        self.failure: Exception | None = None
        """Why it has given up, if it has: a topic that does not exist, as a rule."""

    def start(self) -> None:
        """Begins; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Ends; callbacks that still run are not waited for. What was said is with Kafka then, unless that is
        away."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def in_force(self, model: str) -> Release | None:
        """The release that a model is served by: the last whose `make_so` returned."""
        return self._models[model].applied

    def _run(self) -> None:
        watch = self._watch
        try:
            self._take(self._reader.read(watch.whole()))
            next_beat = next_glance = 0.0
            while not self._stop.is_set():
                now = time.monotonic()
                if now >= next_beat:
                    next_beat = now + HEARTBEAT
                    self._beat()
                if now >= next_glance:
                    next_glance = now + GLANCE
                    self._voice.mend()
                    if self._outage.suspected:
                        self._take(self._reader.read(watch.look()))
                busy = self._step()
                if not busy:
                    self.ready.set()
                self._take(self._reader.read(watch.poll(BUSY if busy else IDLE)))
        except Exception as error:  # nobody else hears of it: the thread is ours
            self.failure = error
            log.error("releases are not followed any more: %s", error)
        finally:
            self._stop.set()
            self.ready.set()
            watch.close()
            self._voice.close(FAREWELL)

    def _take(self, found: Iterable[Wanted]) -> None:
        for release, mistake in found:
            model = self._models.get(release.model)
            if model is None or (model.wanted is not None and release.generation <= model.wanted.generation):
                continue
            if mistake is not None:
                reason = f"generation {release.generation} is refused: {mistake}"
                self._voice.acknowledge(release.model, release.generation, "failed", model.loaded, reason)
                continue
            model.wanted = release
            if model.wish is not None:
                model.wish.superseded.set()

    def _step(self) -> bool:
        """Takes what callbacks came to, and begins what is wanted. Answers whether any is at work."""
        while True:
            try:
                self._settle(self._outcomes.get_nowait())
            except Empty:
                break
        for model in self._models.values():
            if model.wanted is not None and model.wish is None and model.wanted.generation > model.tried:
                self._begin(model, model.wanted)
        return any(model.wish is not None for model in self._models.values())

    def _begin(self, model: _Model, release: Release) -> None:
        model.tried = release.generation
        model.wish = Wish(release, threading.Event())
        self._voice.acknowledge(release.model, release.generation, "loading", model.loaded)
        name = f"make {release.model} generation {release.generation} so"
        threading.Thread(target=self._try, args=(model.wish,), name=name, daemon=True).start()

    def _try(self, wish: Wish) -> None:
        """In a thread of its own."""
        try:
            loaded = list(_names("what make_so returns", self._make_so(wish)))
            outcome = _Outcome(wish.release, loaded, None)
        except BaseException as error:  # whatever a callback raises is what its release came to
            outcome = _Outcome(wish.release, (), str(error) or type(error).__name__)
        self._outcomes.put(outcome)

    def _settle(self, outcome: _Outcome) -> None:
        release = outcome.release
        model = self._models[release.model]
        is_superseded = model.wish is not None and model.wish.superseded.is_set()
        model.wish = None
        if outcome.reason is None:
            model.applied, model.loaded = release, outcome.loaded
            self._voice.acknowledge(release.model, release.generation, "applied", model.loaded)
        elif not is_superseded:
            self._voice.acknowledge(release.model, release.generation, "failed", model.loaded, outcome.reason)

    def _beat(self) -> None:
        for name, model in self._models.items():
            generation = 0 if model.applied is None else model.applied.generation
            self._voice.beat(name, generation, model.loaded)


def _names(what: str, names: Iterable[str]) -> Iterable[str]:
    """Several names, as they are. A single one would be taken for its letters."""
    if isinstance(names, str):
        raise HeadgateError(f"{what}: found the text {names!r}, expected a list of names: [{names!r}]")
    return names


def _clock() -> float:
    return time.time() * 1000
