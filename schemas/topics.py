"""The topics: what each is called, what keys it, how long it keeps its records. The contract's section 2 as a
table, and one beside it: `metrics.drift`, between judge and sink, is internal as `metrics.panes` is.

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


class Topic(msgspec.Struct, frozen=True):
    """One topic of the contract. `event` topics share one partition count, the model-keyed ones another."""

    name: str
    key: str
    cleanup: Cleanup
    event: bool = False

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
            return {"cleanup.policy": "compact"}
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
EVIDENCE = Topic("control.evidence", "model", Cleanup.COMPACT)
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
    DEAD_LETTERS,
)
