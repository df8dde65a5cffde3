"""Which policies hold in a replay: those of the recording, each from when it came, or others in their
place, from the beginning.

The join and the judge have a timeline each, as they have live: the judge leaves out what it cannot carry out
(`streams/judge/check.py`), and knows no policy before it has come.
"""

from collections.abc import Iterable, Sequence

from schemas.errors import HeadgateError
from schemas.policies import Policy
from schemas.records import Codec, PolicyRecord
from schemas.timeline import Timeline
from streams.judge.check import check
from streams.replay.block import Single
from streams.stage import Record

_CODEC: Codec[PolicyRecord] = Codec(PolicyRecord)


class Policies:
    """`instead` hold from the beginning, whatever the recording has for their models."""

    def __init__(self, instead: Iterable[Policy]) -> None:
        self.joined, self.judged = Timeline(), Timeline()
        self.notes: list[str] = []
        """What could not be put in force, and why."""
        self._instead: set[str] = set()
        self._foreseen: set[tuple[int, int]] = set()  # partitions and offsets
        self._first: set[tuple[int, int]] = set()
        for policy in instead:
            self._instead.add(policy.model)
            self.joined.add(policy, 0)
            self.judged.add(policy, 0)

    def foresee(self, found: Sequence[Single]) -> None:
        """What `control.policies` will have, in its order, as far as it is known before the events come: a
        model's first policy holds from the beginning.
        """
        for single in found:
            record, place = single.record, (single.partition, single.record.offset)
            policy = self._read(record)
            if policy is None:
                continue
            self._foreseen.add(place)
            self.joined.add(policy, _time(record))
            if not self.judged.knows(policy.model) and self._is_sound(policy, record.offset):
                self._first.add(place)
                self.judged.add(policy, _time(record))

    def meet(self, single: Single) -> str | None:
        """The next record of `control.policies`; answers the model whose policy came unforeseen. Raises
        ValueError for what is no record.
        """
        record, place = single.record, (single.partition, single.record.offset)
        _CODEC.decode(record.value)
        if place in self._first:
            return None
        policy = self._read(record)
        if policy is None:
            return None
        if self._is_sound(policy, record.offset):
            self.judged.add(policy, _time(record))
        if place in self._foreseen:
            return None
        self.joined.add(policy, _time(record))
        return policy.model

    def _read(self, record: Record) -> Policy | None:
        """The policy, unless it is none, or another is to hold in its place."""
        try:
            policy = Timeline().read(record.value, record.timestamp)
        except HeadgateError as error:
            self._note(f"offset {record.offset}: {error}; the policy before it stays in force")
            return None
        return None if policy.model in self._instead else policy

    def _is_sound(self, policy: Policy, offset: int) -> bool:
        try:
            check(policy)
        except HeadgateError as error:
            self._note(f"control.policies, offset {offset}: {error}; the last good policy stays")
            return False
        return True

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _time(record: Record) -> int:
    """When it was published: the later one of its own time and Kafka's (ms)."""
    return max(_CODEC.decode(record.value).ts, record.timestamp)
