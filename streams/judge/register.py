"""What stands in `control.releases`: of each model the highest generation that is signed as it must be.

Whatever else comes behind it (an older generation, another record of the same, a forged one) is left alone,
and what stands is to be written once more: a compacted topic keeps the last record of a key, whichever that
is. So a zombie can undo nothing, not even for a worker that starts tomorrow. Pure.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from schemas.records import Codec, Release
from schemas.signing import Keyring
from streams.log import Entry


class Bad(NamedTuple):
    """A record that is left alone, and why. `model` is None where it cannot be read, `forged` says that it
    lacks a good signature.
    """

    entry: Entry
    reason: str
    model: str | None = None
    forged: bool = False


class Stands(NamedTuple):
    """A release in force, as it was written, and whether it is the last record of its key, signed with the
    key that signs now.
    """

    record: Release
    value: bytes
    sound: bool


class Register:
    """All partitions of the topic, in the order of their records."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys
        self._codec: Codec[Release] = Codec(Release)
        self._standing: dict[tuple[int, str], Stands] = {}
        self._bad: list[Bad] = []

    def read(self, entries: Sequence[Entry]) -> list[tuple[int, Release]]:
        """Takes in records; answers those that came into force, with their partition."""
        found = []
        for entry in entries:
            record = self._decode(entry)
            if record is None or entry.value is None:
                continue
            place = entry.partition, record.model
            held = self._standing.get(place)
            mistake = self._keys.mistake(entry.value, entry.headers)
            if mistake is not None:
                reason = f"control.releases, generation {record.generation} of {record.model}: {mistake}"
                self._bad.append(Bad(entry, reason, record.model, forged=True))
            elif held is None or record.generation > held.record.generation:
                sound = self._keys.is_current(entry.headers) or not self._keys
                self._standing[place] = Stands(record, entry.value, sound)
                found.append((entry.partition, record))
                continue
            if held is not None:
                same = entry.value == held.value and mistake is None
                sound = same and (self._keys.is_current(entry.headers) or not self._keys)
                self._standing[place] = held._replace(sound=sound)
        return found

    def of(self, partition: int) -> list[Release]:
        """What stands in a partition."""
        return [stands.record for (number, _), stands in self._standing.items() if number == partition]

    def bad(self, partition: int) -> list[Bad]:
        """The records of a partition that have been left alone since this was last asked."""
        found = [bad for bad in self._bad if bad.entry.partition == partition]
        self._bad = [bad for bad in self._bad if bad.entry.partition != partition]
        return found

    def unsound(self, partition: int) -> list[tuple[str, bytes]]:
        """What has to be written once more, as it was: model and value. It counts as written."""
        found = []
        for (number, model), stands in self._standing.items():
            if number == partition and not stands.sound:
                self._standing[number, model] = stands._replace(sound=True)
                found.append((model, stands.value))
        return found

    def _decode(self, entry: Entry) -> Release | None:
        try:
            return self._codec.decode(entry.value)
        except msgspec.DecodeError as error:
            self._bad.append(Bad(entry, str(error)))
            return None
