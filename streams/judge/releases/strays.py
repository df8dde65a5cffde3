"""Acks of generations that nobody has released yet: the release's record may be on its way (somebody forces a
rollback, and workers are faster than we are), or it never was one.

Pure. Until it is known, such an ack proves that its worker lives, and nothing else.
"""

from collections import OrderedDict
from typing import NamedTuple

import msgspec

from schemas.records import Ack
from streams.stage import Record

PATIENCE = 30_000
"""So long (ms of the acks' time) a release may be on its way."""
KNOWN = 1_000
"""So many workers and generations are remembered, so that each is told of once."""


class Stray(NamedTuple):
    """An ack, the record that it came in, and when it is taken for a stray."""

    ack: Ack
    origin: Record | None
    due: int

    def reason(self, highest: int) -> str:
        """What is wrong with it, for whoever reads the dead letter."""
        said = f"; its worker says: {self.ack.error}" if self.ack.error else ""
        return (
            f"generation: found {self.ack.generation} of worker {self.ack.worker}, expected at most "
            f"{highest}, the newest release of {self.ack.model}{said}"
        )


class Strays:
    """Those of one model: of each worker and generation the first."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], Stray] = {}
        self._told: OrderedDict[tuple[str, int], None] = OrderedDict()

    def hold(self, ack: Ack, origin: Record | None) -> Ack:
        """Keeps an ack; answers what may be made of it now: its worker lives."""
        place = ack.worker, ack.generation
        if place not in self._told:
            held = self._held.get(place)
            if held is None or ack.status == "applied" or (ack.status == "failed" and held.ack.error is None):
                due = held.due if held is not None else ack.ts + PATIENCE
                self._held[place] = Stray(ack, origin, due)
        return msgspec.structs.replace(ack, kind="ack", status="loading", generation=0, error=None)

    def known(self, generation: int) -> list[Ack]:
        """The acks that are none any more, now that `generation` is released."""
        found = [place for place in self._held if place[1] <= generation]
        return [self._held.pop(place).ack for place in found]

    def overdue(self, now: int) -> list[Stray]:
        """Those that were waited for in vain; each once."""
        found = [place for place, stray in self._held.items() if stray.due < now]
        for place in found:
            self._told[place] = None
        while len(self._told) > KNOWN:
            self._told.popitem(last=False)
        return [self._held.pop(place) for place in found]
