"""What a worker counts while it answers: batches, answers, times. `exposition.py` shows it to Prometheus.

Counting is a dictionary entry and a bisection, about a microsecond, for it happens with every answer. Runs,
answers and the rest are counted in a thread each; others may read at any time, and see each number as it is
then.
"""

from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from schemas.records import Prediction

SECONDS = (
    *(0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0),
)
"""Upper bounds of the bins of all times, from a small model's run to a backlog after an outage."""

REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ROWS = (1, 8, 64, 256, 512, 1024, 2048, 4096, 8192, 16384)
"""Upper bounds of the bins of batches' sizes, in requests and in rows."""

MOST_VERSIONS = 16
"""Versions of a model that are counted apart; beyond, those that were first heard of are forgotten."""

MOST_OTHERS = 100
"""Models that are not served here and are counted apart: their names are the producers' choice."""

OTHERS = "(others)"
"""The name of all beyond."""

Key = TypeVar("Key", bound=Hashable)


class Answered(NamedTuple):
    """What answers are counted by."""

    model: str
    version: str
    arm: str
    status: str


class Histogram:
    """Counts of observations by bin: bin i is of those up to `bounds[i]`, the last of those above all."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Histograms(Generic[Key]):
    """A histogram for each key."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._of: dict[Key, Histogram] = {}

    def observe(self, key: Key, value: float) -> None:
        found = self._of.get(key)
        if found is None:
            found = self._of[key] = Histogram(self._bounds)
        found.observe(value)

    def items(self) -> Mapping[Key, Histogram]:
        """A copy of the keys; safe from other threads."""
        return dict(self._of)

    def forget(self, key: Key) -> None:
        self._of.pop(key, None)


class Meter:
    """A worker's counters since its process began. Times are in seconds."""

    def __init__(self) -> None:
        self.answers: dict[Answered, int] = {}
        """Predictions handed over: `shed`, `timeout` and `error` are statuses."""
        self.latency: Histograms[str] = Histograms(SECONDS)
        """By model, from the request's Kafka timestamp to its answer; not of shadows."""
        self.queue: Histograms[str] = Histograms(SECONDS)
        """By model, from the request's Kafka timestamp to its run; not of shadows."""
        self.infer: Histograms[tuple[str, str]] = Histograms(SECONDS)
        """By model and version, one run."""
        self.requests: Histograms[str] = Histograms(REQUESTS)
        self.rows: Histograms[str] = Histograms(ROWS)
        """By model, in one run."""
        self.cache_hits: dict[str, int] = {}
        self.cache_misses: dict[str, int] = {}
        """By model."""
        self.unknown: dict[str, int] = {}
        """Requests for models that are not served here, by model."""
        self.dead_letters = 0
        self.in_flight = 0
        """Requests that are read and not answered yet: a gauge, the worker sets it."""
        self._versions: dict[str, dict[str, None]] = {}
        self._lock = Lock()

    def ran(self, model: str, version: str, requests: int, rows: int, seconds: float) -> None:
        """One run of a version is over, successful or not: so many requests, and rows of all of them."""
        self._know(model, version)
        self.requests.observe(model, requests)
        self.rows.observe(model, rows)
        self.infer.observe((model, version), seconds)

    def answered(self, prediction: Prediction) -> None:
        """A prediction is handed over."""
        model, version = prediction.model, prediction.version
        self._know(model, version)
        key = Answered(model, version, prediction.arm, prediction.status)
        self.answers[key] = self.answers.get(key, 0) + 1
        if prediction.arm == "shadow":
            return
        self.latency.observe(model, prediction.latency_ms / 1000)
        if prediction.queue_ms is not None:
            self.queue.observe(model, prediction.queue_ms / 1000)

    def cached(self, model: str, hits: int, misses: int) -> None:
        """So many requests were found among results that are kept, and so many looked up in vain."""
        self.cache_hits[model] = self.cache_hits.get(model, 0) + hits
        self.cache_misses[model] = self.cache_misses.get(model, 0) + misses

    def left_alone(self, model: str) -> None:
        """A request for a model that is not served here."""
        name = model if model in self.unknown or len(self.unknown) < MOST_OTHERS else OTHERS
        self.unknown[name] = self.unknown.get(name, 0) + 1

    def died(self) -> None:
        """A record that is no request."""
        self.dead_letters += 1

    def _know(self, model: str, version: str) -> None:
        """Forgets the oldest of too many versions: counters that stay for ever would grow with every
        release."""
        known = self._versions.get(model)
        if known is not None and version in known:
            return
        with self._lock:
            known = self._versions.setdefault(model, {})
            known[version] = None
            if len(known) > MOST_VERSIONS:
                oldest = next(iter(known))
                del known[oldest]
                self.infer.forget((model, oldest))
                for key in [key for key in dict(self.answers) if (key.model, key.version) == (model, oldest)]:
                    self.answers.pop(key, None)
