"""How far event time has passed in one source partition: the clocks of its three topics, and what idle or
exhausted ones add.

A topic partition that lags holds everything back; one that is read to its end moves on with the others, or
with wall time. Times are epoch ms.
"""

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
    broker stamps its records.
    """

    def __init__(self, log_append_time: Mapping[Topic, bool]) -> None:
        self._log_append_time = log_append_time
        self._positions: dict[Topic, int] = {}
        self._moved = 0

    def reached(self, clocks: Mapping[Topic, int], readings: Mapping[Topic, Reading]) -> int:
        """What all three topics have passed: panes with a deadline before it take no more records from this
        source partition.
        """
        asked = min(reading.asked for reading in readings.values())
        positions = {topic: reading.position for topic, reading in readings.items()}
        if positions != self._positions:
            self._positions, self._moved = positions, asked
        newest = max(clocks.values())
        return min(
            self._passed(topic, clocks[topic], reading, newest, asked) for topic, reading in readings.items()
        )

    def _passed(self, topic: Topic, clock: int, reading: Reading, newest: int, asked: int) -> int:
        if reading.position < reading.end:
            return clock
        if (
            self._log_append_time[topic] or newest == BEGINNING
        ):  # a source partition without any record holds nobody back
            return max(clock, reading.asked - SETTLING)
        idle = asked - self._moved
        return newest + (idle if idle >= IDLE else 0)
