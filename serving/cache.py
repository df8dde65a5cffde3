"""Results of runs, kept for requests with the same inputs: by version in memory and inputs, byte for byte.
Bounded in bytes and time. Pure; time comes in.

A version is told from others by itself, not by its name: one that is loaded again starts with nothing kept.
"""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from itertools import count
from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from schemas.records import Request
from serving.runtime import Runtime

Scores = npt.NDArray[np.floating]

OVERHEAD = 400
"""Bytes that an entry takes beside its scores, rounded up."""

Key = tuple[int, bytes]


class Entry(NamedTuple):
    """What is kept of a run for one request. `until`: monotonic seconds."""

    scores: Scores
    until: float


class Cache:
    """The scores of requests, `most` bytes of them in all, each for `seconds`; the least recently used go
    first. `most` of 0 keeps nothing. One thread may look up while another one keeps.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[Key, Entry] = OrderedDict()
        self._bytes = 0
        self._numbers: WeakKeyDictionary[Runtime, int] = WeakKeyDictionary()
        self._next = count()
        self._lock = Lock()

    @property
    def is_on(self) -> bool:
        """Whether it keeps anything."""
        return self._most > 0

    @property
    def bytes(self) -> int:
        """What is kept, with an estimate of what it costs to keep it."""
        return self._bytes

    def key(self, runtime: Runtime, request: Request) -> Key:
        """What makes two requests the same for a version: how many rows, and the inputs that it reads."""
        given = request.inputs or {}
        digest = blake2b(len(request.items or ()).to_bytes(8, "big"), digest_size=16)
        for name in runtime.manifest.inputs:
            value = bytes(given.get(name, b""))
            digest.update(len(value).to_bytes(8, "big"))
            digest.update(value)
        with self._lock:
            number = self._numbers.get(runtime)
            if number is None:
                number = self._numbers[runtime] = next(self._next)
        return number, digest.digest()

    def get(self, key: Key) -> Scores | None:
        """The scores that are kept, in the order of the request's items."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found.until <= self._clock():
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return found.scores

    def put(self, key: Key, scores: Scores) -> None:
        """Keeps a copy of `scores`, unless they alone are too large."""
        size = scores.nbytes + OVERHEAD
        with self._lock:
            if key in self._kept:
                self._drop(key)
            if size > self._most:
                return
            self._kept[key] = Entry(scores.copy(), self._clock() + self._seconds)
            self._bytes += size
            while self._bytes > self._most:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        self._bytes -= self._kept.pop(key).scores.nbytes + OVERHEAD
