"""What is to be known of a recording before it is replayed: a model's first policy and a version's first
profile hold from the beginning, wherever they stand in it, and a model's workers acknowledge at once only
where it has no acks of theirs.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import Ack, Codec, PolicyRecord, Profile
from streams.replay import envelope
from streams.replay.block import Single
from streams.replay.files import Lines
from streams.replay.recording import Names
from streams.replay.stamps import ABSENT

MARK = b"control."
"""What stands in each line that matters."""


class Foresight(NamedTuple):
    """Records of `control.policies` whose Kafka timestamps are known and each model's first, in their order;
    profiles; the models with acks.
    """

    policies: list[Single]
    profiles: list[Profile]
    acknowledged: frozenset[str]


def look_through(files: Iterable[Iterable[Lines]], prefix: str) -> Foresight:
    """Looks through a recording. Lines that are no records are left for the replay to report."""
    search = _Search(prefix)
    for file in files:
        for lines in file:
            for line in _marked(lines.data.tobytes()):
                search.take(line)
    return Foresight(search.policies, search.profiles, frozenset(search.acknowledged))


def _marked(data: bytes) -> Iterator[bytes]:
    """The lines that have the mark in them."""
    at = data.find(MARK)
    while at >= 0:
        start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        yield data[start:end]
        at = data.find(MARK, end)


class _Search:
    def __init__(self, prefix: str) -> None:
        self.policies: list[Single] = []
        self.profiles: list[Profile] = []
        self.acknowledged: set[str] = set()
        self._names = Names(prefix)
        self._next: dict[int, int] = {}
        self._models: dict[str, bool] = {}  # those with a policy: are all of theirs known so far?
        self._policy: Codec[PolicyRecord] = Codec(PolicyRecord)
        self._profile: Codec[Profile] = Codec(Profile)
        self._ack: Codec[Ack] = Codec(Ack)

    def take(self, text: bytes) -> None:
        try:
            line = envelope.read(text, "")
            topic = self._names.topic(line.topic, "")
            if topic == topics.POLICIES:
                self._take_policy(line)
            elif topic == topics.PROFILES:
                self.profiles.append(self._profile.decode(line.row.value))
            elif topic == topics.ACKS:
                self.acknowledged.add(self._ack.decode(line.row.value).model)
        except (HeadgateError, msgspec.DecodeError):
            return

    def _take_policy(self, line: envelope.Line) -> None:
        partition = max(0, line.partition)
        offset = self._next.get(partition, 0) if line.row.offset == ABSENT else line.row.offset
        self._next[partition] = offset + 1
        model = self._policy.decode(line.row.value).model
        known = self._models.get(model, True) and (model not in self._models or line.row.timestamp != ABSENT)
        self._models[model] = known
        if known:
            self.policies.append(Single(0, topics.POLICIES, partition, line.row._replace(offset=offset)))
