"""The topics: what each is called, what keys it, how long it keeps its records. The contract's section 2 as a
table, and three beside it that are internal as `metrics.panes` is: `metrics.drift`, between judge and sink,
`control.rules`, what the judge's rules remember, and `alerts.open`, which the notify stage keeps for its
successor.

Creating them is `infra/topics.py`'s work; this file touches no broker.
"""

from enum import StrEnum

import msgspec

from schemas.settings import Topics


class Cleanup(StrEnum):
    """What Kafka does with old records."""

    DELETE = "delete"
    COMPACT = "compact"
    KEEP = "keep"


BUSY = {"segment.bytes": str(16 << 20), "min.cleanable.dirty.ratio": "0.1"}
"""For a compacted topic that is written every few seconds: what a start reads of it stays small, for it is
compacted soon.
"""


class Topic(msgspec.Struct, frozen=True):
    """One topic of the contract. `event` topics share one partition count, the model-keyed ones another.
    `busy` ones are compacted in small pieces.
    """

    name: str
    key: str
    cleanup: Cleanup
    event: bool = False
    busy: bool = False

    def full_name(self, settings: Topics) -> str:
        """The name on the broker, with the configured prefix."""
        return settings.prefix + self.name

    def partitions(self, settings: Topics) -> int:
        """How many partitions the topic is created with."""
        return settings.partitions if self.event else settings.model_partitions

    def config(self, *, forever: bool) -> dict[str, str]:
        """Topic configuration on the broker. `forever` keeps deletable topics too: local stacks carry
        recorded, old times.
        """
        if self.cleanup is Cleanup.COMPACT:
            return {"cleanup.policy": "compact"} | (BUSY if self.busy else {})
        if self.cleanup is Cleanup.KEEP or forever:
            return {"cleanup.policy": "delete", "retention.ms": "-1"}
        return {"cleanup.policy": "delete"}


REQUESTS = Topic("inference.requests", "request_id", Cleanup.DELETE, event=True)
PREDICTIONS = Topic("inference.predictions", "request_id", Cleanup.DELETE, event=True)
FEEDBACK = Topic("feedback.events", "request_id", Cleanup.DELETE, event=True)
SAMPLES = Topic("metrics.samples", "model", Cleanup.DELETE)
PANES = Topic("metrics.panes", "model", Cleanup.DELETE)
DRIFT = Topic("metrics.drift", "model", Cleanup.DELETE)
ALERTS = Topic("alerts", "model", Cleanup.DELETE)
POLICIES = Topic("control.policies", "model", Cleanup.KEEP)
PROFILES = Topic("control.profiles", "model/version", Cleanup.COMPACT)
COMMANDS = Topic("control.commands", "model", Cleanup.DELETE)
RELEASES = Topic("control.releases", "model", Cleanup.COMPACT)
ACKS = Topic("control.acks", "model", Cleanup.DELETE)
EVIDENCE = Topic("control.evidence", "model", Cleanup.COMPACT, busy=True)
RULES = Topic("control.rules", "model/series/chunk", Cleanup.COMPACT)
SILENCES = Topic("control.silences", "model/silence_id", Cleanup.COMPACT)
OPEN_ALERTS = Topic("alerts.open", "labels' fingerprint", Cleanup.COMPACT)
DEAD_LETTERS = Topic("dead.letters", "the bad record's key", Cleanup.DELETE)

EVENTS = (REQUESTS, PREDICTIONS, FEEDBACK)
ALL = (
    *EVENTS,
    SAMPLES,
    PANES,
    DRIFT,
    ALERTS,
    POLICIES,
    PROFILES,
    COMMANDS,
    RELEASES,
    ACKS,
    EVIDENCE,
    RULES,
    SILENCES,
    OPEN_ALERTS,
    DEAD_LETTERS,
)
