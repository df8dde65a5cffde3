"""How far event time has passed in one source partition: the clocks of its three topics, and what idle or
exhausted ones add.

A topic partition that lags holds everything back; one that is read to its end moves on with the others, or
with wall time. Times are epoch ms.
"""

from collections import deque
from collections.abc import Mapping

from schemas.timeline import BEGINNING
from schemas.topics import Topic
from streams.stage import Reading

SETTLING = 120_000
"""Under LogAppendTime nothing that is appended after wall time w can be older than this before w: a broker's
clock may be off by so much.
"""

IDLE = 60_000
"""Under CreateTime wall time counts only where all three topics have been idle for so long."""


class Passage:
    """Keeps when the source partition was last seen to move. `log_append_time` says of each topic whether the
    broker stamps its records; those are then never older than `settling` (ms).
    """

    def __init__(self, log_append_time: Mapping[Topic, bool], settling: int = SETTLING) -> None:
        self._log_append_time = log_append_time
        self._settling = settling
        self._positions: dict[Topic, int] = {}
        self._moved = 0
        self._newest: deque[tuple[int, int]] = deque()  # wall time, and the highest clock then

    def reached(self, clocks: Mapping[Topic, int], readings: Mapping[Topic, Reading], now: int) -> int:
        """What all three topics have passed: panes with a deadline before it take no more records from this
        source partition. `clocks` are as of wall time `now`.
        """
        asked = min(reading.asked for reading in readings.values())
        positions = {topic: reading.position for topic, reading in readings.items()}
        if positions != self._positions:
            self._positions, self._moved = positions, asked
        self._newest.append((now, max(clocks.values())))
        while len(self._newest) > 1 and self._newest[1][0] <= asked:
            self._newest.popleft()
        return min(self._passed(topic, clocks[topic], reading, asked) for topic, reading in readings.items())

    def vacant(self, clocks: Mapping[Topic, int], readings: Mapping[Topic, Reading]) -> int:
        """Where no record has ever come, how far panes are final all the same, for such a source partition
        must not hold the others back; if some come after all, whatever their time, they count.
        """
        if max(clocks.values()) > BEGINNING or any(r.position < r.end for r in readings.values()):
            return BEGINNING
        return min(reading.asked for reading in readings.values()) - self._settling

    def _passed(self, topic: Topic, clock: int, reading: Reading, asked: int) -> int:
        if reading.position < reading.end:
            return clock
        if self._log_append_time[topic]:
            return max(clock, reading.asked - self._settling)
        idle = asked - self._moved
        return max(clock, self._newest_before(reading.asked) + (idle if idle >= IDLE else 0))

    def _newest_before(self, asked: int) -> int:
        """The highest clock when the end was asked for: what has been read since may be newer than records
        of this topic that have come since.
        """
        return max((clock for time, clock in self._newest if time <= asked), default=BEGINNING)
