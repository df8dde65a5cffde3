"""What a judge finds of its predecessors on a partition: checkpoints, what change detectors saw, what rules
remembered. Each topic is read to its end; a record that cannot be read is left alone, and said.
"""

import logging
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from schemas import topics
from schemas.records import Codec, Detection
from schemas.settings import Settings
from schemas.topics import Topic
from streams.judge.releases.checkpoint import Checkpoint
from streams.judge.rules.memory import Remembered
from streams.log import Entry, Follower

log = logging.getLogger(__name__)


Kept = TypeVar("Kept")


def checkpoints(settings: Settings, partition: int) -> list[Checkpoint]:
    """The last one of each model, unless somebody has deleted it."""
    codec: Codec[Checkpoint] = Codec(Checkpoint)
    return _newest(codec, topics.EVIDENCE, _entries(settings, topics.EVIDENCE, partition))


def remembered(settings: Settings, partition: int) -> list[Remembered]:
    """What rules remembered: of each key the newest."""
    codec: Codec[Remembered] = Codec(Remembered)
    return _newest(codec, topics.RULES, _entries(settings, topics.RULES, partition))


def detections(settings: Settings, partition: int, since: int) -> list[tuple[Detection, int]]:
    """What change detectors saw, written since a wall time (ms), in its order; each with when it was."""
    codec: Codec[Detection] = Codec(Detection)
    found = []
    for entry in _entries(settings, topics.DRIFT, partition, since):
        detection = _decoded(codec, topics.DRIFT, entry)
        if detection is not None:
            found.append((detection, entry.timestamp))
    return found


def _newest(codec: Codec[Kept], topic: Topic, entries: Sequence[Entry]) -> list[Kept]:
    found: dict[bytes | None, Kept] = {}
    for entry in entries:
        if not entry.value:
            found.pop(entry.key, None)
            continue
        value = _decoded(codec, topic, entry)
        if value is not None:
            found[entry.key] = value
    return list(found.values())


def _decoded(codec: Codec[Kept], topic: Topic, entry: Entry) -> Kept | None:
    try:
        return codec.decode(entry.value)
    except msgspec.DecodeError as error:
        log.error("%s, offset %d: %s; it is left alone", topic.name, entry.offset, error)
        return None


def _entries(settings: Settings, topic: Topic, partition: int, since: int | None = None) -> list[Entry]:
    follower = Follower(settings, topic, since=since)
    try:
        return [entry for entry in follower.refresh() if entry.partition == partition]
    finally:
        follower.close()
