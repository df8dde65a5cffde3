"""What a receiver is due to be told, and when: one message after another for each of its groups.

Pure functions of the cases and a time. Two kinds: an Alertmanager is told all that fires, at once, and again
and again, for it forgets what it does not hear of and does the grouping itself; a webhook is told what has
changed, group by group, and again after hours.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol

from schemas.records import Alert
from streams.notify import alertmanager
from streams.notify.book import Case, Place

Group = tuple[tuple[str, str], ...]
"""The labels that a message's alerts have in common, by which they were put together."""

PAGE = "page"
"""The severity that waits for nobody."""

MOST = 256
"""Alerts in one message (Prometheus sends an Alertmanager as many)."""
SIDE_BY_SIDE = 8
"""Messages to one webhook under way at a time; of one group never two."""
KEPT = 900_000
"""An Alertmanager is told again of an alert's end for so long (ms, as Prometheus does): it may have been
started anew, or its clock may be late.
"""


class Message(NamedTuple):
    """Alerts to be posted together, as they stand now."""

    group: Group
    alerts: Mapping[Place, Alert]


class Known(NamedTuple):
    """A case as a plan sees it."""

    place: Place
    case: Case
    silenced: bool


class Due(NamedTuple):
    """What is to be posted now, and the wall time (ms) from which on there is more, if nothing else happens:
    no record comes, no message is answered.
    """

    messages: list[Message]
    again: int


class Plan(Protocol):
    """When one receiver is told what."""

    @property
    def name(self) -> str:
        """The receiver's, as it may be shown to anybody."""
        ...

    def due(self, known: Iterable[Known], busy: Collection[Group], now: int) -> Due:
        """At wall time `now` (ms), while messages of the groups `busy` are under way."""
        ...

    def over(self, case: Case, now: int) -> bool:
        """Whether nothing more will be said of a resolved alert."""
        ...


def unsent(known: Known, receiver: str) -> bool:
    """Whether the receiver is to be told of a change: that it fires, unless it is silenced; that it is over,
    if the receiver may know that it fired.
    """
    if known.case.knows(receiver):
        return False
    return not known.silenced if known.case.fires else receiver in known.case.heard


class Continual(NamedTuple):
    """An Alertmanager: everything that fires every `resend` ms."""

    name: str
    resend: int

    def due(self, known: Iterable[Known], busy: Collection[Group], now: int) -> Due:
        """One message at a time, what is news first, and of that the pages."""
        if busy:
            return Due([], LATER)
        again, wanted = LATER, []
        for one in known:
            news = unsent(one, self.name)
            at = now if news else self._next(one)
            if at is None:
                continue
            if at <= now:
                wanted.append((not news, one.case.alert.severity != PAGE, one.case.noticed, one))
            else:
                again = min(again, at)
        wanted.sort(key=lambda each: each[:3])
        alerts = {one.place: one.case.alert for *_, one in wanted[:MOST]}
        return Due([Message((), alerts)] if alerts else [], again)

    def over(self, case: Case, now: int) -> bool:
        """It has been told for long enough, or needs not be."""
        return self.name not in case.heard or now >= case.noticed + KEPT

    def _next(self, one: Known) -> int | None:
        told = one.case.told.get(self.name)
        if told is None or told.refused or one.silenced or not one.case.knows(self.name):
            return None
        at = told.at + self.resend
        return at if one.case.fires or at < one.case.noticed + KEPT else None


class Grouped(NamedTuple):
    """A webhook: each group's changes after `wait` ms, pages at once, and what fires every `repeat` ms."""

    name: str
    group_by: tuple[str, ...]
    wait: int
    repeat: int

    def due(self, known: Iterable[Known], busy: Collection[Group], now: int) -> Due:
        """The most urgent groups, as far as there is room for them."""
        groups: dict[Group, list[Known]] = {}
        for one in known:
            groups.setdefault(self.group(one.case.alert), []).append(one)
        again, wanted = LATER, []
        for group, members in groups.items():
            at = min((at for one in members if (at := self._next(one)) is not None), default=None)
            if at is None or group in busy:
                continue
            if at <= now:
                wanted.append((not any(map(self._pages, members)), at, group))
            else:
                again = min(again, at)
        wanted.sort(key=lambda each: each[:2])
        first = wanted[: max(0, SIDE_BY_SIDE - len(busy))]
        return Due([Message(group, self._alerts(groups[group])) for *_, group in first], again)

    def over(self, case: Case, now: int) -> bool:
        """It has been told, or needs not be."""
        return self.name not in case.heard or case.knows(self.name)

    def group(self, alert: Alert) -> Group:
        """The group that an alert belongs to; of a label that it lacks, as if that were empty."""
        labels = alertmanager.labels(alert)
        names = (name if name in alertmanager.OURS else alertmanager.escape(name) for name in self.group_by)
        return tuple((name, labels.get(name, "")) for name in names)

    def _next(self, one: Known) -> int | None:
        if unsent(one, self.name):
            return one.case.noticed + (0 if self._pages(one) else self.wait)
        told = one.case.told.get(self.name)
        if told is None or told.refused or one.silenced or not one.case.fires:
            return None
        return told.at + self.repeat

    def _pages(self, one: Known) -> bool:
        return one.case.fires and one.case.alert.severity == PAGE and unsent(one, self.name)

    def _alerts(self, members: list[Known]) -> dict[Place, Alert]:
        """What has changed, then what still fires: a message says how the whole group stands."""
        told = [
            one
            for one in members
            if one.case.fires and not one.silenced and one.case.knows(self.name) and not self._refused(one)
        ]
        shown = [one for one in members if unsent(one, self.name)] + told
        return {one.place: one.case.alert for one in shown[:MOST]}

    def _refused(self, one: Known) -> bool:
        told = one.case.told.get(self.name)
        return told is not None and told.refused


LATER = 1 << 62
"""Not before something else happens."""
