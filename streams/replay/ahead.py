"""Work that is done ahead, in a thread beside whoever uses it, and side by side in several."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

DEPTH = 2
"""So many items wait at most."""


TURN = 0.0003
"""Seconds after which a thread in Python's interpreter lets others have it, where they want it."""


def take_short_turns() -> None:
    """From now on threads of this process have the interpreter for `TURN` at a time. A thread whose work is
    compiled wants it for a moment, after every millisecond or so of work; by default it would have to wait
    for 5 ms each time while another is busy in Python.
    """
    sys.setswitchinterval(TURN)


class _End:
    """Behind the last item; `error` is what ended them before their time."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, made in a thread while others are used; what is raised there is raised here, in its
    place. The thread is nobody's to wait for: where the process ends, it ends.
    """
    ready: Queue[Item | _End] = Queue(DEPTH)

    def make() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                ready.put(item)
        except BaseException as raised:
            error = raised
        ready.put(_End(error))

    Thread(target=make, daemon=True).start()
    while True:
        item = ready.get()
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
        yield item


class Team:
    """As many threads as there are processors, that share work."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1)

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """What each item comes to, in their order; where there is one alone, without a thread."""
        return list(self._pool.map(work, items) if len(items) > 1 else map(work, items))
