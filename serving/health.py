"""Is this worker healthy, is it ready, and why not? What `/healthz` and `/readyz` say; `streams/probes.py`
serves them, from a thread that asks nobody.

*Healthy*: its loop turns, no run takes too long, and it says that it lives. A worker that is not does not
recover by itself; one whose run hangs is soon ended and started anew by its supervisor. While Kafka does not
answer nothing can be said against it. *Ready*: healthy, Kafka answers, the versions that were wanted at the
start are warm, and the group has dealt out its partitions (perhaps none to this worker). A release that comes
later, or fails, does not make it unready: the old one serves on, or the stable version of the new one.
"""

import threading
import time
from collections.abc import Collection, Mapping
from typing import Protocol

from serving.flight import Flight
from serving.outage import Outage
from serving.releases import Standing
from serving.steering import HEARTBEAT
from streams.probes import Answer

ELSEWHERE = "HEADGATE_SERVING_HEALTH, or health under [serving] in headgate.toml"
"""How to give a worker another address."""

EARLY = 0.5
"""A worker says that it is not healthy after this part of the time after which a run counts as hung."""

STUCK = 30.0
"""Seconds after which a loop that runs nothing and does not turn counts as stuck. Rebalances take a few."""

SILENT = 3 * HEARTBEAT
"""Seconds without a heartbeat after which the judge takes a worker for dead."""


class Steering(Protocol):
    """Who knows how releases stand."""

    ready: threading.Event
    failure: Exception | None
    beat_at: float
    """When the last heartbeat was said (monotonic seconds)."""

    def standing(self) -> Mapping[str, Standing]:
        """How it stands with each model that is served here."""
        ...


class Health:
    """How a worker is. The worker's loop tells it that it turns; safe to ask from any thread.

    `flight` knows what runs, `control` what is in force, `outage` whether `broker` answers. `hang`: seconds
    after which a run counts as hung.
    """

    def __init__(self, flight: Flight, control: Steering, outage: Outage, broker: str, hang: float) -> None:
        self._flight = flight
        self._control = control
        self._outage = outage
        self._broker = broker
        self._patience = EARLY * hang
        self._partitions: Collection[int] | None = None
        self._turned_at: float | None = None

    def turns(self, partitions: Collection[int] | None) -> None:
        """The worker's loop begins a turn, with these partitions; None: the group has not dealt them out
        yet."""
        self._turned_at = time.monotonic()
        self._partitions = partitions

    def healthy(self, now: float) -> Answer:
        """At monotonic time `now` (seconds)."""
        control = self._control
        if control.failure is not None:
            return Answer(False, f"it ends: {control.failure}")
        since = self._flight.since() / 1e9
        if since and now - since > self._patience:
            return Answer(False, f"{self._running()} has been running for {now - since:.0f} s")
        if self._outage:
            return Answer(True, f"waiting: Kafka at {self._broker} does not answer")
        if not since and self._turned_at is not None and now - self._turned_at > STUCK:
            return Answer(False, f"the loop has been stuck for {now - self._turned_at:.0f} s")
        if control.ready.is_set() and now - control.beat_at > SILENT:
            return Answer(False, f"it has not said that it lives for {now - control.beat_at:.0f} s")
        return Answer(True, "at work" if control.ready.is_set() else "waiting: it is starting")

    def ready(self, now: float) -> Answer:
        """At monotonic time `now` (seconds)."""
        healthy = self.healthy(now)
        if not healthy.well:
            return healthy
        if self._outage:
            return Answer(False, f"Kafka at {self._broker} does not answer")
        standing = self._control.standing()
        cold = [
            _wanted(model, found)
            for model, found in standing.items()
            if found.wanted and not (found.applied or found.makeshift)
        ]
        if cold:
            return Answer(False, "; ".join(cold))
        if not self._control.ready.is_set():
            return Answer(False, "the releases are being read")
        if self._partitions is None:
            return Answer(False, "the group has not dealt out its partitions yet")
        serves = [_serves(model, found) for model, found in standing.items()]
        return Answer(True, "; ".join([*serves, _has(self._partitions)]))

    def _running(self) -> str:
        aboard = self._flight.aboard()
        return "a run" if aboard is None else f"a run of {aboard.label} with {len(aboard.places)} requests"


def _wanted(model: str, found: Standing) -> str:
    if found.error is None:
        return f"{model}: generation {found.wanted} is being loaded"
    return f"{model}: generation {found.wanted} failed: {found.error}"


def _serves(model: str, found: Standing) -> str:
    if found.makeshift:
        return f"{model} is served by its stable version alone ({_wanted(model, found)})"
    if not found.applied:
        return f"{model} has no release yet"
    serves = f"{model} is served by generation {found.applied}"
    return serves if found.applied == found.wanted else f"{serves} ({_wanted(model, found)})"


def _has(partitions: Collection[int]) -> str:
    if not partitions:
        return "has no partition: others have them all"
    return f"has partitions {', '.join(map(str, sorted(partitions)))}"
