"""The joins and the judge, one after the other, over recorded events: what they would have said.

Pure: no Kafka, no clock, no I/O. The same records in the same order give the same output, byte for byte.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from streams.replay.agenda import Agenda
from streams.replay.ahead import ahead
from streams.replay.block import Block
from streams.replay.joining import Joining
from streams.replay.judging import Judging
from streams.replay.known import Known
from streams.replay.rows import Output


class Replay:
    """Takes blocks of records, in the order in which they came, and answers what comes of them."""

    def __init__(self, known: Known) -> None:
        self._agenda = Agenda(range(known.count or 0))
        self._joining = Joining(known)
        self._judging = Judging(known)

    @property
    def hand(self) -> int:
        """The event time that is reached (ms)."""
        return self._agenda.hand

    @property
    def read(self) -> int:
        """How many records were taken."""
        return self._agenda.read

    @property
    def notes(self) -> list[str]:
        """Which policies could not be put in force, and why."""
        return self._judging.policies.notes

    def run(self, blocks: Iterable[Block]) -> Iterator[Iterator[Output]]:
        """Takes all blocks, the agenda a little ahead of the joins, these of the judge; answers what comes of
        each step, to be gone through before the next.
        """
        steps = ahead(self._joining.steps(ahead(self._agenda.of(blocks))))
        return map(self._judging.take, chain.from_iterable(steps))
