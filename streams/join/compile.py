"""Compiles all of the join, or loads what is kept on disk: one record of each kind goes through it.

A process does so before it joins its group, for it takes a minute the first time; `make setup` does it with
`python -m streams.join.compile`.
"""

import logging
import time

from schemas.timeline import BEGINNING, Timeline
from schemas.topics import EVENTS, FEEDBACK, PREDICTIONS, REQUESTS
from streams.columns import Records, Row
from streams.join.control import Control
from streams.join.core import Join
from streams.join.ledger import Safe
from streams.join.references import References

log = logging.getLogger(__name__)

TS = 1_700_000_000_000
VALUES = {
    REQUESTS: b'{"request_id":"r","ts":%d,"model":"m","user":"u","features":{"f":1.5}}' % TS,
    PREDICTIONS: b'{"request_id":"r","ts":%d,"model":"m","version":"v","arm":"stable","status":"ok",'
    b'"latency_ms":1,"items":["a","b"],"scores":[0.5,0.25],"surface":"s"}' % TS,
    FEEDBACK: b'{"request_id":"r","ts":%d,"kind":"click","item":"a"}' % TS,
}
SLOW = 5.0
"""Seconds after which it was a compilation, not a mere loading."""


def compile_all() -> None:
    """Returns when all is compiled."""
    began = time.monotonic()
    starts = {topic: Safe(0, BEGINNING) for topic in EVENTS}
    join = Join(0, 1, Control(Timeline(), References()), starts, BEGINNING)
    for topic, value in VALUES.items():
        join.read(topic, Records.of([Row(0, TS, b"r", value, ())]))
    list(join.snapshots(1, TS))
    join.curtail()
    join.advance(TS * 2)
    list(join.snapshots(2, TS))
    took = time.monotonic() - began
    if took > SLOW:
        log.info("the join's loops are compiled, in %.0f s; they are kept for the next start", took)


if __name__ == "__main__":
    compile_all()
