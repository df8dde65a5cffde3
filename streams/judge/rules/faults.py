"""Alerts about the pipeline itself: counts that ought to stay 0, and what to do where they grow."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from schemas import topics
from schemas.records import Alert, Pane
from streams.judge.facts import alerts


class Notice(NamedTuple):
    """What an alert about the pipeline says."""

    topic: str | None
    summary: str


def _mispartitioned(pane: Pane) -> Notice:
    """The topic follows from what its records say of themselves: feedback no model, requests no version."""
    answered = topics.PREDICTIONS if pane.version else topics.REQUESTS
    topic = (answered if pane.model else topics.FEEDBACK).name
    return Notice(
        topic,
        f"Records of {topic} came in another partition than their request_id's, or without a key: their "
        "producers need the setting partitioner=murmur2_random and the request_id as key. The records were "
        "re-published to the right partition.",
    )


def _incomplete(_pane: Pane) -> Notice:
    return Notice(
        None,
        "Panes could not be kept whole: retention overtook the join stage, or its memory ran out; its log "
        "says which. Give the event topics more retention.ms than the join is ever down, or the join more "
        "memory (under [streams] in headgate.toml), more processes, or shorter attribution windows.",
    )


COUNTS: Mapping[str, Callable[[Pane], Notice]] = {
    "mispartitioned": _mispartitioned,
    "incomplete": _incomplete,
}
"""Counts that are alerts whenever they grow, and what is said then."""
QUIET = 60_000
"""Such an alert is resolved when its count has not grown for so long (ms, event time)."""


class Growth:
    """A count that grew: its alert, and the event time when it did last."""

    def __init__(self, alert: Alert, seen: int) -> None:
        self.alert = alert
        self.seen = seen


class Faults:
    """Those of one model."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._growing: dict[Notice, Growth] = {}

    def take(self, pane: Pane, raised: Mapping[str, float], horizon: int | None) -> list[Alert]:
        """A snapshot, and by how much it raised each sum; answers the alerts that begin."""
        return [
            alert
            for name in COUNTS
            if raised.get(name, 0.0) > 0 and (alert := self._grow(name, pane, horizon)) is not None
        ]

    def quieten(self, horizon: int) -> list[Alert]:
        """The alerts that are over at the event time `horizon` (ms)."""
        quiet = [notice for notice, growth in self._growing.items() if horizon > growth.seen + QUIET]
        return [alerts.resolved(self._growing.pop(notice).alert, horizon) for notice in quiet]

    @property
    def begun(self) -> Iterator[int]:
        """When each that fires began (ms): a successor must read from there."""
        return (growth.alert.starts_at for growth in self._growing.values())

    def _grow(self, name: str, pane: Pane, horizon: int | None) -> Alert | None:
        seen = max(pane.end, horizon or 0)
        notice = COUNTS[name](pane)
        growth = self._growing.get(notice)
        if growth is not None:
            growth.seen = seen
            return None
        alert = alerts.firing(
            self._model,
            name,
            pane.start,
            severity="warning",
            labels={"metric": name} | ({"topic": notice.topic} if notice.topic else {}),
            value=pane.sums[name],
            threshold=0.0,
            summary=notice.summary,
        )
        self._growing[notice] = Growth(alert, seen)
        return alert
