"""What operators, the judge and serving workers say to each other, and what is said of it to people: the
`control` topics, alerts and dead letters.
"""

from typing import Any, Literal

from msgspec import Raw

from schemas.records.fields import (
    Command,
    Count,
    Mode,
    Name,
    Phase,
    Record,
    Share,
    ShortName,
    Time,
    Words,
)


class PolicyRecord(Record):
    """`control.policies`: a policy (section 6) as an object; `policies.py` reads it."""

    model: Name
    ts: Time
    policy: Raw
    actor: str


class CommandRecord(Record):
    """`control.commands`: what an operator asks of a release. `generation`: it is meant for the release
    record with this number, and to be refused if another one stands.
    """

    model: ShortName
    ts: Time
    command: Command
    command_id: ShortName
    actor: Words
    version: ShortName | None = None
    mode: Mode | None = None
    reason: Words | None = None
    generation: Count | None = None


class Release(Record, omit_defaults=False):
    """`control.releases`: the desired state of a model's serving, one generation after another.

    Every field is written out, so that readers in other languages need no defaults.
    """

    model: Name
    generation: Count
    ts: Time
    stable: Name
    decision_id: str
    reason: str
    candidate: str | None = None
    shadow: str | None = None
    weight: Share = 0.0
    phase: Phase = "stable"
    salt: str = ""
    evidence: dict[str, Any] | None = None


class Ack(Record):
    """`control.acks`: a worker's word on a generation, or that it is alive. `available`: the versions that it
    could load, as far as it knows.
    """

    model: ShortName
    worker: ShortName
    ts: Time
    kind: Literal["ack", "heartbeat"]
    generation: Count
    status: Literal["applied", "loading", "failed"] | None = None
    loaded: list[str] | None = None
    error: str | None = None
    available: list[str] | None = None


class Alert(Record, omit_defaults=False):
    """`alerts`: one firing or resolution of a rule; maps one-to-one onto an Alertmanager v2 alert.

    Every field is written out, so that readers in other languages need no defaults.
    """

    alert_id: Name
    model: str
    rule: str
    status: Literal["firing", "resolved"]
    severity: str
    starts_at: Time
    ends_at: Time | None = None
    value: float | None = None
    threshold: float | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Silence(Record):
    """`control.silences` (key: model/silence_id): alerts that are recorded, but not sent, from `ts` to
    `ends_at`.

    Those of `model` (empty: those that are about none), of `rule` where it is given, that have all `labels`
    (`severity` counts as one). The last record of an id holds; one that somebody has ended early says who, in
    `ended_by`.
    """

    model: str
    silence_id: Name
    ts: Time
    ends_at: Time
    actor: Name
    reason: Name
    rule: str | None = None
    labels: dict[str, str] | None = None
    ended_by: str | None = None


class DeadLetter(Record):
    """`dead.letters`: a record that could not be processed, and why."""

    ts: Time
    topic: str
    partition: Count
    offset: Count
    stage: str
    reason: str
    key: str | None = None
    value: str | None = None
