"""What is wrong with a record that its type cannot say: lists of one length, a time against Kafka's."""

from schemas.records.control import Ack, CommandRecord, DeadLetter, PolicyRecord, Release, Silence
from schemas.records.events import Feedback, Prediction, Request, Sample
from schemas.records.fields import DAY
from schemas.records.profiles import Profile

LONGEST_SILENCE = 30 * DAY

Timed = (
    Request
    | Prediction
    | Feedback
    | Sample
    | PolicyRecord
    | CommandRecord
    | Release
    | Ack
    | Profile
    | Silence
    | DeadLetter
)
"""The records that have a `ts`."""


def problem(record: Timed, timestamp: int) -> str | None:
    """What is wrong with a decoded record beyond its types, or None. `timestamp` is Kafka's, in ms."""
    if record.ts > timestamp + DAY:
        return f"ts: found {record.ts}, expected at most a day after the Kafka timestamp {timestamp}"
    if isinstance(record, Silence):
        return _span(record)
    return _lengths(record) if isinstance(record, Prediction) else None


def _span(record: Silence) -> str | None:
    if record.ends_at <= record.ts:
        return f"ends_at: found {record.ends_at}, expected later than ts {record.ts}"
    if record.ends_at > record.ts + LONGEST_SILENCE:
        days = (record.ends_at - record.ts) / DAY
        return f"ends_at: found {days:.1f} days after ts, expected at most {LONGEST_SILENCE // DAY}"
    return None


def _lengths(record: Prediction) -> str | None:
    scores, propensities = record.scores, record.propensities
    of, reference = ("scores", scores) if record.items is None else ("items", record.items)
    if reference is None:
        return None
    if scores is not None and len(scores) != len(reference):
        return f"scores: found {len(scores)} values, expected one for each of {len(reference)} {of}"
    if propensities is not None and len(propensities) != len(reference):
        return (
            f"propensities: found {len(propensities)} values, expected one for each of {len(reference)} {of}"
        )
    return None
