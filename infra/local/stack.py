"""Kafka and ClickHouse together, as long as a `with` block lasts: what `headgate up`, the demo and the tests
run on."""

import fcntl
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from infra.local.clickhouse import ClickHouse
from infra.local.kafka import Kafka
from schemas import settings
from schemas.errors import HeadgateError
from schemas.settings import Settings

PREFIX, LOCK = "headgate-", "lock"
"""How temporary folders are called, and the file in each folder that its stack has locked."""
YOUNGEST = 60.0
"""Seconds after which a temporary folder that nobody has locked is one that was left behind: till then its
owner may be about to lock it, and the guards of one that was killed about to end its processes."""


class LocalStack:
    """The local stack. Nothing of it is left after the `with` block but for `data`, where given; and no
    process after `kill -9` of this one, which leaves the temporary folder, for `remove_left` to find.

    >>> with LocalStack() as stack:                # doctest: +SKIP
    ...     stack.settings.kafka.brokers, stack.settings.clickhouse.url
    ('127.0.0.1:25871', 'http://127.0.0.1:30122')
    """

    def __init__(
        self,
        data: Path | None = None,
        kafka_port: int = 0,
        clickhouse_port: int = 0,
        base: Settings | None = None,
        java: Sequence[str] = (),
    ) -> None:
        """Keeps its data in the folder `data`, or in a temporary one. Port 0 is a free one. `java`: options
        of the broker's Java.

        Topic prefix, partitions and ClickHouse's user, password and database are `base`'s; the broker has no
        security and one replica.
        """
        self._temporary = data is None
        self._lock: IO[bytes] | None = None
        self._data = Path(tempfile.mkdtemp(prefix=PREFIX)) if data is None else data
        self.logs = self._data / "logs"
        base = base or Settings()
        account = base.clickhouse
        self.kafka = Kafka(self._data / "kafka", self.logs / "kafka.log", kafka_port, java)
        self.clickhouse = ClickHouse(
            self._data / "clickhouse",
            self.logs / "clickhouse.log",
            clickhouse_port,
            account.user,
            account.password,
        )
        self._parts: dict[str, Kafka | ClickHouse] = {"Kafka": self.kafka, "ClickHouse": self.clickhouse}
        self.settings = msgspec.structs.replace(
            base,
            kafka=settings.Kafka(brokers=self.kafka.brokers),
            clickhouse=msgspec.structs.replace(account, url=self.clickhouse.url),
            topics=msgspec.structs.replace(base.topics, replication=1),
        )

    def __enter__(self) -> Self:
        try:
            self._lock = self._claim_data()
            with ThreadPoolExecutor() as threads:
                starts = [threads.submit(part.start) for part in self._parts.values()]
                try:
                    for start in starts:
                        start.result()
                except BaseException:
                    self._stop()  # so that the other one does not keep us waiting
                    raise
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops both, and removes the folder if it is a temporary one. Safe to repeat."""
        self._stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._temporary:
            shutil.rmtree(self._data, ignore_errors=True)

    def ended(self) -> str | None:
        """The name of the one that does not run, None while both do."""
        return next((name for name, part in self._parts.items() if not part.running), None)

    def _stop(self) -> None:
        with ThreadPoolExecutor() as threads:
            for stop in [threads.submit(part.stop) for part in self._parts.values()]:
                stop.result()

    def _claim_data(self) -> IO[bytes]:
        try:
            self._data.mkdir(parents=True, exist_ok=True)
            lock = (self._data / LOCK).open("wb")
        except OSError as error:
            raise HeadgateError(
                f"{self._data}: {error.strerror}; expected a folder that we may write to; "
                "choose another with --data DIR"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise HeadgateError(
                f"{self._data}: another local stack is using this folder; "
                "stop that, or choose another with --data DIR"
            ) from None
        return lock


def remove_left(where: Path, now: float) -> list[Path]:
    """Removes the temporary folders in `where` of stacks that were killed, and answers them. A stack is known
    to be dead by its lock, which the kernel takes from a process that ends. `now`: Unix time.
    """
    return [
        folder for folder in sorted(where.glob(f"{PREFIX}*")) if _is_left(folder, now) and _removed(folder)
    ]


def _is_left(folder: Path, now: float) -> bool:
    try:
        return now - (folder / LOCK).stat().st_mtime > YOUNGEST
    except OSError:  # not a stack's, or not ours to look into, or being removed by its owner
        return False


def _removed(folder: Path) -> bool:
    try:
        lock = (folder / LOCK).open("r+b")
    except OSError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
