"""What is known of alerts, and who has been told: the newest record of each, nothing older.

Pure: no Kafka, no clock, no I/O. An alert is who its labels say that it is, as in Alertmanager: where a rule
fires again under another id, the new one takes the place of the old one.
"""

from collections.abc import Collection, Iterator, Mapping

import msgspec

from schemas.records import Alert
from streams.notify import alertmanager

WORTH = 600_000
"""After so many ms the time at which a receiver was told the same again is written down, too."""


class Told(msgspec.Struct, frozen=True):
    """What a receiver has last been told of an alert, at wall time `at` (ms); or has `refused` to hear."""

    alert_id: str
    status: str
    at: int
    refused: bool = False


class Case(msgspec.Struct, omit_defaults=True):
    """One alert: its newest record, that record's offset in `alerts`, and the wall time (ms) at which it
    came.

    `heard`: receivers that may know that it fires, because an attempt was made to tell them. What is not kept
    here and in `alerts.open` is forgotten.
    """

    alert: Alert
    offset: int
    noticed: int
    heard: set[str] = set()
    told: dict[str, Told] = {}

    @property
    def fires(self) -> bool:
        """Whether it is not resolved."""
        return self.alert.status == "firing"

    def knows(self, receiver: str) -> bool:
        """Whether the receiver has been told how things stand, or has refused to hear it."""
        told = self.told.get(receiver)
        return told is not None and (told.alert_id, told.status) == (self.alert.alert_id, self.alert.status)


class Place(msgspec.Struct, frozen=True):
    """Where a case is kept: the partition of `alerts`, and the labels' fingerprint."""

    partition: int
    key: str


class Book:
    """All cases of the partitions that are ours."""

    def __init__(self) -> None:
        self._cases: dict[Place, Case] = {}
        self._places: dict[tuple[int, str], Place] = {}
        """By partition and alert id, of what fires."""
        self._changed: set[Place] = set()

    def __len__(self) -> int:
        return len(self._cases)

    def take(self, alert: Alert, partition: int, offset: int, now: int) -> None:
        """A record of `alerts` that came at wall time `now` (ms). One that says nothing new changes nothing,
        nor does the end of an alert that does not fire, or whose place another one has taken.
        """
        if alert.status == "resolved":
            self._end(alert, partition, offset, now)
            return
        place = _place(partition, alert)
        case = self._cases.get(place)
        if case is None:
            self._cases[place] = Case(alert, offset, now)
        elif offset <= case.offset or alert == case.alert:
            return  # read again, or written again
        else:
            if not case.fires or alert.alert_id != case.alert.alert_id:
                case.noticed = now
            # Who has heard of the end before hears of a new beginning.
            case.heard -= {name for name, told in case.told.items() if told.status == "resolved"}
            self._unlist(place, case)
            case.alert, case.offset = alert, offset
        self._places[partition, alert.alert_id] = place
        self._changed.add(place)

    def _end(self, alert: Alert, partition: int, offset: int, now: int) -> None:
        """Ends what fired with these labels and this id; else what fired under this id, which receivers know
        by the labels that it had then.
        """
        place = _place(partition, alert)
        case = self._cases.get(place)
        if case is None or not case.fires or case.alert.alert_id != alert.alert_id:
            known = self._places.get((partition, alert.alert_id))
            if known is None:
                return
            place, case = known, self._cases[known]
        if offset <= case.offset:
            return
        self._unlist(place, case)
        fired = case.alert
        case.alert = msgspec.structs.replace(
            alert, model=fired.model, rule=fired.rule, severity=fired.severity, labels=fired.labels
        )
        case.offset, case.noticed = offset, now
        self._changed.add(place)

    def _unlist(self, place: Place, case: Case) -> None:
        if self._places.get((place.partition, case.alert.alert_id)) == place:
            del self._places[place.partition, case.alert.alert_id]

    def restore(self, partition: int, key: str, case: Case) -> None:
        """Takes over what a predecessor has written."""
        place = Place(partition, key)
        self._cases[place] = case
        if case.fires:
            self._places[partition, case.alert.alert_id] = place

    def forget(self, partitions: Collection[int]) -> None:
        """Somebody else has them now."""
        self._cases = {
            place: case for place, case in self._cases.items() if place.partition not in partitions
        }
        self._places = {at: place for at, place in self._places.items() if place.partition not in partitions}
        self._changed = {place for place in self._changed if place.partition not in partitions}

    def cases(self, partitions: Collection[int]) -> Iterator[tuple[Place, Case]]:
        """Those of some partitions."""
        return ((place, case) for place, case in self._cases.items() if place.partition in partitions)

    def drop(self, place: Place) -> None:
        """It is over, and everybody has been told."""
        del self._cases[place]
        self._changed.add(place)

    def offset(self, place: Place) -> int | None:
        """That of the newest record in `alerts`; None for what is no longer kept."""
        case = self._cases.get(place)
        return None if case is None else case.offset

    def attempt(self, places: Collection[Place], receiver: str) -> bool:
        """The receiver is about to be told of them. Answers whether something of that is to be written down
        first: who cannot write any more, for somebody else has the partition, is not to post either.
        """
        for place in places:
            case = self._cases[place]
            if case.fires and receiver not in case.heard:
                case.heard.add(receiver)
                self._changed.add(place)
        return not self._changed.isdisjoint(places)

    def tell(self, posted: Mapping[Place, Alert], receiver: str, now: int) -> None:
        """The receiver has taken what was posted, whatever has come since."""
        for place, alert in posted.items():
            self._say(place, receiver, Told(alert.alert_id, alert.status, now))

    def refuse(self, posted: Mapping[Place, Alert], receiver: str, now: int) -> None:
        """The receiver will not take what was posted, however often it is."""
        for place, alert in posted.items():
            self._say(place, receiver, Told(alert.alert_id, alert.status, now, refused=True))

    def _say(self, place: Place, receiver: str, told: Told) -> None:
        case = self._cases.get(place)
        if case is not None:
            before = case.told.get(receiver)
            case.told[receiver] = told
            # That an Alertmanager hears the same again every minute is not worth a record.
            if (
                before is None
                or told.at >= before.at + WORTH
                or msgspec.structs.replace(before, at=told.at) != told
            ):
                self._changed.add(place)

    def unsay(self, place: Place, case: Case) -> None:
        """Nobody counts as having been told that it fires: once it is no longer silenced they shall be."""
        if any(told.status == "firing" for told in case.told.values()):
            case.told = {name: told for name, told in case.told.items() if told.status != "firing"}
            self._changed.add(place)

    def doubt(self) -> None:
        """All is to be written down again: it may be that somebody else has written since."""
        self._changed.update(self._cases)

    @property
    def changed(self) -> bool:
        """Whether there is something to be written."""
        return bool(self._changed)

    def changes(self) -> Iterator[tuple[Place, Case | None]]:
        """What is to be written since the last call, None for what is no longer kept."""
        changed, self._changed = self._changed, set()
        return ((place, self._cases.get(place)) for place in changed)


def _place(partition: int, alert: Alert) -> Place:
    return Place(partition, alertmanager.fingerprint(alertmanager.labels(alert)))
