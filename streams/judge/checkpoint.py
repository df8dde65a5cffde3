"""What the judge keeps in `control.evidence`, one record a model: what reading its inputs again would not
tell it.

Sums of final panes are to come here too; for now a running release holds back the offset of the panes that
it needs.
"""

import msgspec

from schemas.records import Command, Count, Name, Record, Time


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command that could not be carried out, and why."""

    command_id: str
    command: Command
    actor: str
    ts: int
    reason: str
    version: str | None = None


class Checkpoint(Record):
    """`control.evidence`. `handled`: commands below this offset are done with. `delays`: clicks' delays by
    hour of event time, of windows that start up to `counted`.
    """

    model: Name
    ts: Time
    handled: Count = 0
    refusals: tuple[Refusal, ...] = ()
    delays: dict[int, dict[int, Count]] = msgspec.field(default_factory=dict)
    counted: int = 0
