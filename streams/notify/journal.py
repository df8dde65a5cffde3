"""`alerts.open`: what a notify stage keeps for its successor, by partition of `alerts`: what fires, what is
to be said yet, and who has been told. Compacted, so it is as long as there are such alerts.

Written in transactions under an id that is fixed for each partition: a zombie that comes back must not write
over its successor that an alert fires which has ended since.
"""

import logging
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from schemas import topics
from schemas.records import ENCODER, Codec, DeadLetter
from schemas.settings import Settings
from streams.log import Entry
from streams.notify.book import Case
from streams.transactions import Outgoing, Transactions

log = logging.getLogger(__name__)


class Note(NamedTuple):
    """What is to be written of a case, by its key: how it stands, as JSON; None: it is no longer kept."""

    key: str
    value: bytes | None


def note(key: str, case: Case | None) -> Note:
    """Of a case as it stands now."""
    return Note(key, None if case is None else ENCODER.encode(case))


class Journal:
    """The journal of one partition. Blocking; not for two threads at once."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._partition = partition
        self._transactions = Transactions(
            settings,
            f"{settings.topics.prefix}headgate-notify-{partition}",
            f"notify: another process has partition {partition} of alerts now",
        )

    def open(self) -> None:
        """Takes the partition over: from here on nobody who had it before gets through."""
        self._transactions.open()

    def write(self, notes: Iterable[Note], letters: Iterable[DeadLetter]) -> None:
        """Returns once all of them are committed, however long the broker takes. Raises `FencedError`."""
        records = [Outgoing(topics.OPEN_ALERTS, key, value, self._partition) for key, value in notes]
        records += [Outgoing(topics.DEAD_LETTERS, letter.key, ENCODER.encode(letter)) for letter in letters]
        self._transactions.write(records)


def kept(entries: Iterable[Entry], partition: int) -> dict[str, Case]:
    """What is kept of a partition, by key. A record that cannot be read is left out: it is not ours."""
    codec: Codec[Case] = Codec(Case)
    found: dict[str, Case] = {}
    for entry in entries:
        key = (entry.key or b"").decode("utf-8", "replace")
        if entry.partition != partition:
            continue
        found.pop(key, None)
        if entry.value is None:
            continue
        try:
            found[key] = codec.decode(entry.value)
        except msgspec.DecodeError as error:
            log.error("alerts.open, offset %d: %s; it is left out", entry.offset, error)
    return found
