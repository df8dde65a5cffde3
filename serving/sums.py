"""Checksums of model files: each taken once for a file as it is, where possible before anybody waits for it.

Of a load on the CPU the checksum is half of the processor time, which is time that batches do not get. It is
the same whenever it is taken, as long as the file is; and whatever writes to a file, puts another in its
place or sets its times, changes its `Identity`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from schemas.errors import HeadgateError
from serving.pace import Pace, Rest, restless
from serving.repository import Package, Repository, checksum, line_of

SETTLED = 2.0
"""Seconds since a file's last change from which on a later one shows in its times, however coarse the file
system's clock is: the coarsest (FAT's) shows every other second."""

MOST = 1024
"""Files whose sums are remembered; of more, those that were summed last."""

FEW = 3
"""Versions of a model that are summed at the start: those that changed last, of which the next release is
likely to speak."""

LOOKS = 10
"""At a version that is still being written, or cannot be read, at least `SETTLED` apart; then it is left to
its load."""


class Identity(NamedTuple):
    """Which file it is, and as of when: device, inode, size (bytes), last change of its content and of its
    inode (ns since the epoch)."""

    device: int
    inode: int
    size: int
    written: int
    changed: int


def identity(file: Path) -> Identity:
    """A file's. Raises `OSError` where there is none."""
    found = file.stat()
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Sums:
    """SHA-256 of files, remembered by identity. Safe from several threads. `clock` is the wall's, in seconds;
    `take` sums a file, and rests between pieces."""

    def __init__(
        self, clock: Callable[[], float] = time.time, take: Callable[[Path, Rest], str] = checksum
    ) -> None:
        self._clock = clock
        self._take = take
        self._known: dict[Identity, str] = {}
        self._lock = threading.Lock()

    def of(self, file: Path, rest: Rest = restless) -> str:
        """The sum of a file as it is, in hexadecimal digits. Raises `OSError` where there is none."""
        before = identity(file)
        with self._lock:
            known = self._known.get(before)
        if known is not None:
            return known
        has_settled = self.settles_in(file) <= 0
        found = self._take(file, rest)
        if has_settled and identity(file) == before:
            with self._lock:
                self._known[before] = found
                if len(self._known) > MOST:
                    del self._known[next(iter(self._known))]
        return found

    def settles_in(self, file: Path) -> float:
        """Seconds until a sum of the file is worth remembering, unless it changes again; 0 or less: it is."""
        found = identity(file)
        return max(found.written, found.changed) / 1e9 + SETTLED - self._clock()

    def check(self, package: Package, rest: Rest = restless) -> None:
        """Raises `HeadgateError` where `model.onnx` is not what the manifest's `sha256` speaks of."""
        expected = package.manifest.model.sha256
        if expected is None:
            return
        found = self.of(package.onnx, rest)
        if found != expected.lower():
            line = line_of(package.toml.read_text(encoding="utf-8"), ["model", "sha256"])
            raise HeadgateError(
                f"{package.onnx}: found SHA-256 {found}, expected {expected} as {package.toml}:{line} says: "
                "the file is damaged or another; copy it again, or write its sum into the manifest"
            )


class Ahead(threading.Thread):
    """Has `sums` take those of versions that nobody has asked for yet: a version that appears is likely to be
    released. `give_way` is called first, in this thread: batches go before."""

    def __init__(self, repository: Repository, sums: Sums, give_way: Callable[[], None]) -> None:
        super().__init__(name="sums", daemon=True)
        self._repository = repository
        self._sums = sums
        self._give_way = give_way
        self._seen: Mapping[str, Sequence[str]] = {}
        self._has_looked = False
        self._wanted: SimpleQueue[tuple[str, str]] = SimpleQueue()

    def look(self, available: Mapping[str, Sequence[str]]) -> None:
        """The versions of each model as they are now: those that have come since the last look are summed; at
        the first look, `FEW` of each model, the last ones first."""
        for model, versions in available.items():
            new = [version for version in versions if version not in self._seen.get(model, ())]
            if not self._has_looked:
                new = sorted(new, key=partial(self._changed, model), reverse=True)[:FEW]
            for version in new:
                self._wanted.put((model, version))
        self._seen, self._has_looked = available, True

    def run(self) -> None:
        """The thread's work, as long as the process lives."""
        self._give_way()
        again: deque[tuple[str, str, int]] = deque()
        while True:
            looks = LOOKS
            try:
                model, version = self._wanted.get(timeout=SETTLED if again else None)
            except Empty:
                model, version, looks = again.popleft()
            if not self._sum(model, version) and looks > 1:
                again.append((model, version, looks - 1))

    def _sum(self, model: str, version: str) -> bool:
        """Answers whether its files are there, and have settled. What is wrong with them the load says."""
        try:
            package = self._repository.open(model, version)
            if self._sums.settles_in(package.onnx) > 0:
                return False
            self._sums.check(package, Pace(package.onnx).rest)
        except (HeadgateError, OSError):
            return False
        return True

    def _changed(self, model: str, version: str) -> int:
        return max((changed for _, changed, _ in self._repository.fingerprint(model, version)), default=0)
