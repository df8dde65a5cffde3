"""What of a release people are told by alerts: that it was rolled back, that it waits for somebody, that a
worker does not follow.

Pure: each answers which alerts ought to be firing now; `Escalation` compares that with what fires already.
"""

from collections.abc import Iterator, Sequence

import msgspec

from schemas import topics
from schemas.records import Alert, Release
from streams.judge.facts import alerts
from streams.judge.facts.workers import Standing as WorkerStanding
from streams.judge.facts.workers import Workers
from streams.judge.releases import release
from streams.judge.releases.beside import Report, described
from streams.judge.releases.dryrun import Course
from streams.judge.releases.release import Standing
from streams.judge.releases.shadow import exceeded

ACK_MISSING = "ack_missing"
ROLLED_BACK = "release_rolled_back"
PAUSED = "release_paused"
DRY_RUN = "release_dry_run"
FORGED = "forged_record"
SHADOW = "shadow_limit"

QUIET = 600_000
"""The alert about forged records ends after so long (ms) without one."""


def conditions(standing: Standing | None, course: Course | None) -> Iterator[Alert]:
    """The alerts that the release itself is worth, and what would have become of it but for a dry run."""
    for alert in (condition(standing), _imagined(standing, course)):
        if alert is not None:
            yield alert


def _imagined(standing: Standing | None, course: Course | None) -> Alert | None:
    """What the judge would have done: for information, for nothing has happened. Steps are none."""
    would = None if course is None else course.last
    if standing is None or would is None or would.act in ("step", "resume", "finish"):
        return None
    return alerts.firing(
        standing.release.model,
        DRY_RUN,
        would.ts,
        severity="info",
        labels={"version": standing.state.judged or "", "would": would.act},
        about=[standing.release.generation, would.act],
        summary=f"Dry run, nothing was done. The judge would {would.act}: {would.reason}",
    )


def beside(standing: Standing | None, report: Report | None, now: int) -> Iterator[Alert]:
    """One alert for each limit of the policy that the shadow exceeds."""
    if standing is None or report is None:
        return
    for found in exceeded(report):
        yield alerts.firing(
            standing.release.model,
            SHADOW,
            now,
            severity="warning",
            labels={"version": report.shadow, "metric": found.metric, "limit": found.limit},
            about=[report.since, found.metric, found.limit],
            value=found.shadow,
            summary=f"The shadow {report.shadow} beside {report.stable}: {described(found)}",
        )


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


class Forgeries:
    """Control records of one model without a good signature, by topic: an alert until ten minutes without
    more. A command may be that of a colleague without a key; releases nobody writes by mistake.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._seen: dict[str, tuple[int, int, str]] = {}

    def note(self, topic: str, timestamp: int, reason: str) -> None:
        """One came at Kafka time `timestamp` (ms)."""
        first, last, _ = self._seen.get(topic, (timestamp, timestamp, reason))
        first = timestamp if timestamp > last + QUIET else first
        self._seen[topic] = (first, max(last, timestamp), reason)

    def due(self, now: int) -> Iterator[Alert]:
        """One alert for each topic in which there were some lately."""
        for topic, (first, last, reason) in self._seen.items():
            if now <= last + QUIET:
                yield alerts.firing(
                    self._model,
                    FORGED,
                    first,
                    severity="page" if topic == topics.RELEASES.name else "warning",
                    labels={"topic": topic},
                    summary=f"A record of {topic} was refused, nothing has changed by it: {reason}",
                )


class Escalation:
    """The alerts about one model's release that fire now. `firing`: those that a predecessor has written."""

    def __init__(self, firing: Sequence[Alert] = ()) -> None:
        self._firing = {alert.alert_id: alert for alert in firing}

    @property
    def firing(self) -> tuple[Alert, ...]:
        """All of them."""
        return tuple(self._firing.values())

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
