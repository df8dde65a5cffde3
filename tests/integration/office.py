"""The forwarder without Kafka: a desk that is driven as the stage drives it."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from schemas.receivers import Notify
from schemas.records import Alert, DeadLetter
from schemas.signing import Keyring
from streams.notify import posting
from streams.notify.desk import Desk
from streams.notify.silencing import Silences

PATIENCE = 20.0


class Office:
    """A desk that is driven as the stage does it, with everything written down at once."""

    def __init__(self, notify: Notify) -> None:
        self.desk = Desk("notify", posting.configured(notify), Silences(Keyring()))
        self.writes = True
        self._offset = 0

    def comes(self, *alerts: Alert) -> None:
        for one in alerts:
            self.desk.book.take(one, 0, self._offset, self.now)
            self._offset += 1
        self.desk.hurry()

    @property
    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, "was waited for in vain"
            self.desk.plan([0], self.now)
            self.desk.post(self.now)
            if self.writes:
                for _ in self.desk.book.changes():
                    pass
                self.desk.written(self.desk.queued())
            await asyncio.sleep(0.02)

    def letters(self) -> list[DeadLetter]:
        """What has become a dead letter since the last call."""
        return [letter for _, letter in self.desk.letters()]

    def vital(self, name: str) -> float:
        return self.desk.vitals(self.now)[name]


def play(notify: Notify, scenario: Callable[[Office], Awaitable[None]]) -> None:
    """Plays a scenario with a desk, and closes that."""

    async def whole() -> None:
        office = Office(notify)
        try:
            await scenario(office)
        finally:
            await office.desk.close()

    asyncio.run(whole())
