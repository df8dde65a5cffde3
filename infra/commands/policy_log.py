"""The policies in the log, as commands report them: when each is in force, and who published it."""

import sys
import time
from typing import Any

import msgspec

from infra.commands import kafka
from infra.commands.output import ago, instant
from schemas import policies, topics
from schemas.errors import HeadgateError
from schemas.records import Codec, PolicyRecord
from schemas.settings import Settings
from schemas.timeline import BEGINNING, Timeline


class Published(msgspec.Struct):
    """A policy in the log. `in_force` is its first instant (epoch ms), None: from the beginning; `until` the
    next one's, None: open. Both the same: never in force.
    """

    model: str
    partition: int
    offset: int
    actor: str
    published: int
    in_force: int | None
    until: int | None
    policy: dict[str, Any]

    def holds(self, now: int) -> bool:
        """Whether it is in force at `now` (epoch ms)."""
        return (self.in_force is None or self.in_force <= now) and (self.until is None or now < self.until)


def published(settings: Settings) -> list[Published]:
    """Everything in the log that is a policy; what is none is said on standard error."""
    timeline, codec, found = Timeline(), Codec[PolicyRecord](PolicyRecord), list[Published]()
    previous: dict[str, Published] = {}
    for entry in kafka.read(settings, topics.POLICIES):
        try:
            policy = timeline.read(entry.value, entry.timestamp)
        except HeadgateError as error:
            print(f"{error} (partition {entry.partition}, offset {entry.offset})", file=sys.stderr)
            continue
        record = codec.decode(entry.value)
        start = timeline.entries(policy.model)[-1].start
        one = Published(
            model=policy.model,
            partition=entry.partition,
            offset=entry.offset,
            actor=record.actor,
            published=entry.timestamp,
            in_force=None if start == BEGINNING else start,
            until=None,
            policy=policies.to_object(policy),
        )
        if policy.model in previous:
            previous[policy.model].until = start
        previous[policy.model] = one
        found.append(one)
    return found


def validity(one: Published) -> str:
    """In words, when it is in force."""
    now = time.time_ns() // 1_000_000
    start = "the beginning (the model's first)" if one.in_force is None else instant(one.in_force)
    if one.until is not None and one.in_force == one.until:
        return "never in force: the next one came before"
    if one.until is not None and one.until <= now:
        return f"was in force from {start} to {instant(one.until)}"
    if one.holds(now):
        return f"in force from {start}" + (f" to {instant(one.until)}" if one.until is not None else "")
    return f"in force from {start}, in {ago((one.in_force or now) - now)}"
