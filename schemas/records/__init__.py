"""Every record of the contract's section 2, as types: decoder, validator and JSON Schema all come from here.

A record is one JSON object. Unknown fields are ignored, null in an optional field is as if it were absent.
What a type cannot say (lists of one length, a time against Kafka's) is `problem`'s; what a record means is
the stages' business.
"""

from typing import Any

from schemas import topics
from schemas.records.checks import problem
from schemas.records.codec import ENCODER, Codec
from schemas.records.control import Ack, Alert, CommandRecord, DeadLetter, PolicyRecord, Release, Silence
from schemas.records.events import ORIGIN, Feedback, Prediction, Request, Sample
from schemas.records.evidence import Evidence, Finding, Findings, Outlook, Turn
from schemas.records.fields import (
    DAY,
    LARGEST,
    YEAR_2000,
    YEAR_2300,
    Arm,
    Command,
    Count,
    Feature,
    Integer,
    Item,
    Mode,
    Name,
    Phase,
    Record,
    Status,
    Time,
)
from schemas.records.panes import BUCKETS, Detection, Pane, PaneRecord, Progress
from schemas.records.profiles import QUALITY, SCORE, Distribution, Profile
from schemas.topics import Topic

__all__ = [
    "BUCKETS",
    "DAY",
    "ENCODER",
    "LARGEST",
    "ORIGIN",
    "QUALITY",
    "SCORE",
    "TYPES",
    "YEAR_2000",
    "YEAR_2300",
    "Ack",
    "Alert",
    "Arm",
    "Codec",
    "Command",
    "CommandRecord",
    "Count",
    "DeadLetter",
    "Detection",
    "Distribution",
    "Evidence",
    "Feature",
    "Feedback",
    "Finding",
    "Findings",
    "Integer",
    "Item",
    "Mode",
    "Name",
    "Outlook",
    "Pane",
    "PaneRecord",
    "Phase",
    "PolicyRecord",
    "Prediction",
    "Profile",
    "Progress",
    "Record",
    "Release",
    "Request",
    "Sample",
    "Silence",
    "Status",
    "Time",
    "Turn",
    "problem",
]

TYPES: dict[Topic, Any] = {
    topics.REQUESTS: Request,
    topics.PREDICTIONS: Prediction,
    topics.FEEDBACK: Feedback,
    topics.SAMPLES: Sample,
    topics.PANES: PaneRecord,
    topics.DRIFT: Detection,
    topics.ALERTS: Alert,
    topics.POLICIES: PolicyRecord,
    topics.PROFILES: Profile,
    topics.COMMANDS: CommandRecord,
    topics.RELEASES: Release,
    topics.ACKS: Ack,
    topics.EVIDENCE: Evidence,
    topics.SILENCES: Silence,
    topics.DEAD_LETTERS: DeadLetter,
}
