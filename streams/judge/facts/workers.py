"""The serving workers of one model: who is alive, who has applied which generation, and who is late with
that.

Told by `control.acks` alone; times are the workers' own (`ts`), which are wall time as ours is.
"""

from collections.abc import Iterator, Mapping
from enum import Enum

import msgspec

from schemas.records import Ack

LIVE = 15_000
"""A worker is live for so many ms after its last word."""
SAID = 1_000
"""So many characters of what it says is wrong are passed on."""


class Standing(Enum):
    """How a live worker stands to a generation."""

    APPLIED = "applied"
    WAITING = "waiting"
    LATE = "late"
    FAILED = "failed"


class Worker(msgspec.Struct):
    """One worker. `since`: its first word after it had been silent. `applied`: its highest generation, and
    when it said so first.
    """

    name: str
    since: int
    last: int
    applied: int = -1
    applied_at: int = 0
    failed: int = -1
    error: str = ""
    loaded: tuple[str, ...] = ()
    available: frozenset[str] | None = None


class Workers:
    """All workers that were heard of."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

    def take(self, ack: Ack) -> None:
        """An ack or a heartbeat. A heartbeat names the generation that the worker has applied; a lower one
        than before is the word of a process that was started anew under the same name, as in containers.
        """
        worker = self._workers.get(ack.worker)
        anew = worker is not None and ack.kind == "heartbeat" and ack.generation < worker.applied
        if worker is None or anew or ack.ts > worker.last + LIVE:
            worker = self._workers[ack.worker] = Worker(ack.worker, since=ack.ts, last=ack.ts)
        worker.last = max(worker.last, ack.ts)
        if ack.loaded is not None:
            worker.loaded = tuple(ack.loaded)
        if ack.available is not None:
            worker.available = frozenset(ack.available)
        if ack.kind == "ack" and ack.status == "failed":
            worker.failed, worker.error = ack.generation, (ack.error or "")[:SAID]
        elif (ack.kind == "heartbeat" or ack.status == "applied") and ack.generation > worker.applied:
            worker.applied, worker.applied_at = ack.generation, ack.ts

    def dismiss(self, name: str) -> None:
        """Forgets a worker, as if it had never been heard of."""
        self._workers.pop(name, None)

    def live(self, now: int) -> Iterator[Worker]:
        """Those heard of in the last `LIVE` ms, by name."""
        return (worker for _, worker in sorted(self._workers.items()) if now <= worker.last + LIVE)

    def available(self, now: int) -> frozenset[str] | None:
        """The versions that live workers could load; None where none lives, or one does not say."""
        known = [worker.available for worker in self.live(now)]
        if not known or None in known:
            return None
        return frozenset().union(*(versions for versions in known if versions is not None))

    def stand(self, generation: int, released: int, patience: int, now: int) -> Mapping[str, Standing]:
        """How each live worker stands to the generation released at `released` (ms), with `patience` ms from
        then, or from its own start.
        """
        return {
            worker.name: _standing(worker, generation, max(released, worker.since) + patience, now)
            for worker in self.live(now)
        }

    def settled(self, generation: int, released: int, patience: int, now: int) -> int | None:
        """When the last worker that was live had applied the generation, or was silent for good, at most
        `patience` ms after `released`; None while that is to come.

        It counts who was live between the two, whether or not anybody asked then: what is known of workers
        and `now` alone say it.
        """
        limit = released + patience
        concerned = [w for w in self._workers.values() if w.since <= limit and w.last + LIVE >= released]
        times = [released]
        for worker in concerned:
            if worker.applied >= generation:
                times.append(worker.applied_at if worker.applied == generation else released)
            elif worker.last + LIVE < now:
                times.append(worker.last + LIVE)
            else:
                times.append(limit)
        known = min(max(times), limit) if concerned else limit
        return known if known <= now else None

    def overcome(self, generation: int, released: int, patience: int, now: int) -> Iterator[str]:
        """Those that were late with the generation but have applied it since, or are gone."""
        for name, worker in sorted(self._workers.items()):
            deadline = max(released, worker.since) + patience
            applied = worker.applied == generation and worker.applied_at > deadline
            gone = worker.applied < generation and deadline <= worker.last + LIVE < now
            if applied or gone:
                yield name

    def error(self, name: str) -> str:
        """What a worker said when it could not apply a generation; nothing of one that is not known."""
        worker = self._workers.get(name)
        return worker.error if worker is not None else ""

    def forget(self, now: int) -> None:
        """Drops those that have been silent for an hour."""
        for name in [name for name, worker in self._workers.items() if now > worker.last + 3_600_000]:
            del self._workers[name]


def _standing(worker: Worker, generation: int, deadline: int, now: int) -> Standing:
    if worker.applied >= generation:
        return Standing.APPLIED
    if worker.failed == generation:
        return Standing.FAILED
    return Standing.LATE if now >= deadline else Standing.WAITING
