"""What of a release people are told by alerts: that it was rolled back, that it waits for somebody, that a
worker does not follow.

Pure: each answers which alerts ought to be firing now; `Escalation` compares that with what fires already.
"""

from collections.abc import Iterator

import msgspec

from schemas.records import Alert, Release
from streams.judge import alerts, release
from streams.judge.release import Standing
from streams.judge.workers import Standing as WorkerStanding
from streams.judge.workers import Workers

ACK_MISSING = "ack_missing"
ROLLED_BACK = "release_rolled_back"
PAUSED = "release_paused"


def condition(standing: Standing | None) -> Alert | None:
    """The alert that the release itself is worth: rolled back or paused by the judge. What an operator asked
    for is none.
    """
    if standing is None:
        return None
    record, state = standing
    if state.pause is not None and state.pause.cause != "operator":
        labels = {"version": state.judged or "", "cause": state.pause.cause}
        summary = f"The release of {state.judged} is paused: {record.reason}"
        return alerts.firing(
            record.model, PAUSED, state.pause.at, severity="warning", labels=labels, summary=summary
        )
    if record.phase == "rolled_back" and state.failed is not None:
        version = max(state.rolled_back, key=lambda version: state.rolled_back[version])
        labels = {"version": version, "guardrail": state.failed}
        summary = f"{version} was rolled back to {record.stable}: {record.reason}"
        return alerts.firing(
            record.model, ROLLED_BACK, state.since, severity="page", labels=labels, summary=summary
        )
    return None


def handed_over(before: Standing | None, record: Release) -> Release:
    """`record`, which is to follow `before`; notes in its evidence which alert it thereby ends, for a judge
    that never saw that fire.
    """
    alert = condition(before)
    if alert is not None and record.evidence is not None:
        after = condition(release.read(record))
        if after is None or after.alert_id != alert.alert_id:
            record.evidence["resolves"] = msgspec.to_builtins(alert)
    return record


def missing(standing: Standing, workers: Workers, patience: int, now: int) -> Iterator[Alert]:
    """One alert for each live worker that has not applied the generation in `patience` ms, or could not."""
    record = standing.release
    for name, stands in workers.stand(record.generation, record.ts, patience, now).items():
        if stands is WorkerStanding.FAILED:
            yield _missing(record, name, f"could not apply it: {workers.error(name)}")
        elif stands is WorkerStanding.LATE:
            yield _missing(record, name, f"has not acknowledged it within {patience / 1_000:g} s")


def overcome(standing: Standing, workers: Workers, patience: int, now: int) -> Iterator[Alert]:
    """The alerts of `missing` that must have fired before `now`, and are over."""
    record = standing.release
    for name in workers.overcome(record.generation, record.ts, patience, now):
        yield _missing(record, name, "was late")


def _missing(record: Release, worker: str, what: str) -> Alert:
    summary = f"{record.model} generation {record.generation} ({record.phase}): worker {worker} {what}"
    return alerts.firing(
        record.model,
        ACK_MISSING,
        record.ts,
        severity="page",
        labels={"worker": worker},
        about=record.generation,
        summary=summary,
    )


class Escalation:
    """The alerts about one model's release that fire now."""

    def __init__(self) -> None:
        self._firing: dict[str, Alert] = {}

    @property
    def waiting(self) -> bool:
        """Whether a worker is being waited for."""
        return any(alert.rule == ACK_MISSING for alert in self._firing.values())

    def end(self, alerts_: Iterator[Alert] | list[Alert], now: int) -> list[Alert]:
        """Answers the ends of alerts that somebody else has begun."""
        return [alerts.resolved(alert, now) for alert in alerts_ if alert.alert_id not in self._firing]

    def update(self, due: Iterator[Alert] | list[Alert], now: int) -> list[Alert]:
        """Answers what has begun and what has ended, now that `due` ought to be firing."""
        wanted = {alert.alert_id: alert for alert in due}
        ended = [alerts.resolved(alert, now) for id_, alert in self._firing.items() if id_ not in wanted]
        begun = [alert for id_, alert in wanted.items() if id_ not in self._firing]
        self._firing = wanted
        return ended + begun
