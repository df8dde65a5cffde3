"""How alerts are made: the same alert has the same id, whoever decides it and however often."""

from collections.abc import Mapping

import msgspec

from schemas import links
from schemas.records import Alert
from streams.judge.facts.identity import identity


def firing(
    model: str,
    rule: str,
    since: int,
    *,
    severity: str,
    labels: Mapping[str, str],
    summary: str,
    about: object = None,
    value: float | None = None,
    threshold: float | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Alert:
    """An alert that starts at `since` (ms). Its id is of model, rule, labels, and `about`: what was seen
    first, `since` where absent. `annotations` stand beside `summary`.
    """
    return Alert(
        alert_id=identity(model, rule, dict(labels), since if about is None else about),
        model=model,
        rule=rule,
        status="firing",
        severity=severity,
        starts_at=since,
        value=value,
        threshold=threshold,
        labels=dict(labels),
        annotations={"summary": summary, **(annotations or {})},
    )


def linked(alert: Alert, template: str) -> Alert:
    """The alert with the annotation `link`, where `[grafana] url` says where people look."""
    version = alert.labels.get("version")
    link = links.render(template, alert.model, version, alert.starts_at, alert.ends_at)
    if link is None:
        return alert
    return msgspec.structs.replace(alert, annotations={**alert.annotations, "link": link})


def resolved(alert: Alert, at: int, value: float | None = None) -> Alert:
    """The same alert's end at `at` (ms)."""
    return Alert(
        alert_id=alert.alert_id,
        model=alert.model,
        rule=alert.rule,
        status="resolved",
        severity=alert.severity,
        starts_at=alert.starts_at,
        ends_at=max(at, alert.starts_at),
        value=value,
        threshold=alert.threshold,
        labels=alert.labels,
        annotations=alert.annotations,
    )
