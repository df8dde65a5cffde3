"""Which policy is in force when: `control.policies` as a function of event time, the same on every worker and
in every replay.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from schemas import policies
from schemas.errors import HeadgateError
from schemas.policies import Policy
from schemas.records import Codec, PolicyRecord

NOTICE = 15_000
"""A later policy is in force this many ms after its record at the earliest, so that every worker has read it
by then.
"""

BEGINNING = -(1 << 62)


class Entry(NamedTuple):
    """A policy, and the first instant (epoch ms) at which it is in force."""

    start: int
    policy: Policy


class Timeline:
    """All policies of all models. A model without one has the defaults, under its own name."""

    def __init__(self) -> None:
        self._models: dict[str, list[Entry]] = {}
        self._codec: Codec[PolicyRecord] = Codec(PolicyRecord)
        self._default = policies.default("")

    def read(self, value: bytes | None, timestamp: int) -> Policy:
        """Takes a record of `control.policies` with its Kafka timestamp (ms), in log order, and answers its
        policy.

        Raises `HeadgateError` for a record or a policy that is none; the timeline is then as before.
        """
        try:
            record = self._codec.decode(value)
            policy = policies.parse(msgspec.json.decode(record.policy))
        except (ValueError, HeadgateError) as error:
            raise HeadgateError(f"control.policies: {error}") from error
        if policy.model != record.model:
            raise HeadgateError(
                f"control.policies: $.policy.model: found `{policy.model}`, "
                f"expected the record's `{record.model}`"
            )
        self.add(policy, max(record.ts, timestamp))
        return policy

    def add(self, policy: Policy, time: int) -> None:
        """Puts `policy` in force: a model's first from the beginning, a later one from the first instant at
        least `NOTICE` after `time` that is a boundary of old and new panes alike.
        """
        entries = self._models.setdefault(policy.model, [])
        if not entries:
            entries.append(Entry(BEGINNING, policy))
            return
        start, old = entries[-1]
        step = math.lcm(old.pane, policy.pane)
        entries.append(Entry(-(-max(time + NOTICE, start) // step) * step, policy))

    def knows(self, model: str) -> bool:
        """Whether `model` has a policy of its own."""
        return model in self._models

    def models(self) -> list[str]:
        """Those that have a policy."""
        return list(self._models)

    def entries(self, model: str) -> list[Entry]:
        """The model's policies in log order, each with its first instant."""
        return list(self._models.get(model, ()))

    def latest(self, model: str) -> Policy:
        """The last one published, in force or not yet; the defaults where there is none."""
        entries = self._models.get(model)
        return entries[-1].policy if entries else policies.default(model)

    def at(self, model: str, time: int) -> Policy:
        """The policy in force for `model` at `time` (epoch ms). Panes never straddle a change: ask for any
        time within one.
        """
        entries = self._models.get(model)
        if not entries:
            return self._default
        for start, policy in reversed(entries):
            if start <= time:
                return policy
        return entries[0].policy

    def longest_deadline(self, time: int) -> int:
        """The latest deadline, over the models' policies, of the pane that holds `time`: for records whose
        model is not known.
        """
        return max(policy.deadline(policy.pane_start(time)) for policy in self._in_force(time))

    def longest_deadline_between(self, first: int, last: int) -> int:
        """The latest of `longest_deadline` over all times from `first` to `last`, both included: later times
        have earlier ones where a policy comes into force that waits less long."""
        changes = (entry.start for entries in self._models.values() for entry in entries)
        last_moments = [start - 1 for start in changes if first < start <= last]
        return max(map(self.longest_deadline, [*last_moments, last]))

    def _in_force(self, time: int) -> Iterator[Policy]:
        if not self._models:
            yield self._default
        for model in self._models:
            yield self.at(model, time)
