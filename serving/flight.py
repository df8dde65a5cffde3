"""What a worker runs at this moment, written where its crash cannot take it: memory that it shares with its
supervisor.

A memfd of `SIZE` bytes: words of 64 bits in the machine's order, and the label.

| bytes | what |
|---|---|
| 0-7 | when the run began, in ns of the machine's monotonic clock; 0: nothing runs |
| 8-15 | how many requests run together |
| 16-23 | the arm: 0 stable, 1 candidate, 2 shadow |
| 24-31 | 1 if the worker has completed a run of this version before |
| 32-39 | bytes of the label |
| 40-295 | the label, `model/version`, UTF-8 |
| 296-303 | 1 once the worker serves |
| 304-311 | when what is being loaded began to be, in ns of the same clock; 0: nothing is |
| 312-319 | bytes of its label |
| 320-575 | that label |
| 576- | partition and offset of each request, a word each |

The worker alone writes, the supervisor alone reads: the times while the worker lives, the rest when it has
ended. Of a run and of a load the time is written last, so what it speaks of is whole.
"""

import mmap
import os
import struct
import time
from collections.abc import Sequence
from typing import NamedTuple, Self, get_args

from schemas.records import Arm

ARMS: tuple[Arm, ...] = get_args(Arm)

MOST = 4096
"""Requests that may run together."""

ALONE = -1
"""In place of a descriptor: memory of one's own."""

LABEL = 256
"""Bytes of a label; of a longer one the first."""

_HEADER = struct.Struct("qqqq")
_LABEL = 8 + _HEADER.size
_SERVES = _LABEL + LABEL
_LOAD = _SERVES + 8
_LOAD_LABEL = _LOAD + 16
_PLACES = _LOAD_LABEL + LABEL
SIZE = _PLACES + 16 * MOST


class Place(NamedTuple):
    """Where a request stands in `inference.requests`."""

    partition: int
    offset: int


NOWHERE = Place(-1, -1)
"""The place of a request that no log holds."""


class Aboard(NamedTuple):
    """A run: since when (monotonic ns), of which version (`model/version`), in which arm, with which
    requests; and whether the worker has completed a run of that version before (`proven`)."""

    since: int
    label: str
    arm: Arm
    places: list[Place]
    proven: bool = False


class Flight:
    """The shared memory: the supervisor's, made by `shared`, or the worker's, by the descriptor that it
    inherits. Without one, memory that nobody else sees.
    """

    def __init__(self, descriptor: int = ALONE) -> None:
        self.descriptor = descriptor
        self._bytes = mmap.mmap(self.descriptor, SIZE)
        self._words = memoryview(self._bytes).cast("q")
        self._proven: set[str] = set()
        self._label = ""

    @classmethod
    def shared(cls) -> Self:
        """Memory that processes can map which inherit its `descriptor`."""
        descriptor = os.memfd_create("headgate-flight")
        os.ftruncate(descriptor, SIZE)
        return cls(descriptor)

    def clear(self) -> None:
        """For a new worker, which has done nothing yet."""
        self._words[0] = 0
        self._words[_SERVES // 8] = 0
        self.load("")

    def serve(self) -> None:
        """The worker's versions are loaded, and requests come in."""
        self._words[_SERVES // 8] = 1

    @property
    def serves(self) -> bool:
        """Whether the worker got so far."""
        return self._words[_SERVES // 8] == 1

    def load(self, label: str) -> None:
        """A version (`model/version`) is being loaded from now on; none where that is empty."""
        name = label.encode()[:LABEL]
        self._words[_LOAD // 8] = 0
        self._bytes[_LOAD_LABEL : _LOAD_LABEL + len(name)] = name
        self._words[_LOAD // 8 + 1] = len(name)
        self._words[_LOAD // 8] = time.monotonic_ns() if name else 0

    def loads(self) -> str:
        """What is being loaded; empty where nothing is."""
        length = min(max(self._words[_LOAD // 8 + 1], 0), LABEL) if self.loads_since() else 0
        return self._bytes[_LOAD_LABEL : _LOAD_LABEL + length].decode(errors="replace")

    def loads_since(self) -> int:
        """When the load at hand began (monotonic ns); 0 where nothing is being loaded."""
        return self._words[_LOAD // 8]

    def begin(self, label: str, arm: Arm, places: Sequence[Place]) -> None:
        """`places`, `MOST` at most, run from now on; instead of those before."""
        self._words[0] = 0
        self._label = label
        name = label.encode()[:LABEL]
        proven = label in self._proven
        _HEADER.pack_into(self._bytes, 8, len(places), ARMS.index(arm), proven, len(name))
        self._bytes[_LABEL : _LABEL + len(name)] = name
        struct.pack_into(
            f"{2 * len(places)}q", self._bytes, _PLACES, *[word for place in places for word in place]
        )
        self._words[0] = time.monotonic_ns()

    def end(self) -> None:
        """What ran is completed, and nothing runs any more."""
        self._words[0] = 0
        self._proven.add(self._label)

    def since(self) -> int:
        """When the run at hand began (monotonic ns); 0 where nothing runs."""
        return self._words[0]

    def aboard(self) -> Aboard | None:
        """What runs; of a worker that has ended, what ran. None also where a worker that ran wild has
        overwritten it."""
        since = self.since()
        count, arm, proven, length = _HEADER.unpack_from(self._bytes, 8)
        sane = 0 < count <= MOST and 0 <= arm < len(ARMS) and 0 <= length <= LABEL
        if since == 0 or not sane:
            return None
        words = struct.unpack_from(f"{2 * count}q", self._bytes, _PLACES)
        label = self._bytes[_LABEL : _LABEL + length].decode(errors="replace")
        places = [Place(*pair) for pair in zip(*[iter(words)] * 2, strict=True)]
        return Aboard(since, label, ARMS[arm], places, proven == 1)
