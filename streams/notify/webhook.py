"""The body of a webhook message: Alertmanager's webhook payload, version 4, so that whatever takes that takes
ours.
"""

import json
from collections.abc import Sequence

import msgspec

from schemas.records import ENCODER, Alert
from streams.notify import alertmanager
from streams.notify.plans import Group

RECEIVER = "headgate"
NO_TIME = "0001-01-01T00:00:00Z"
"""How Alertmanager writes that an alert has not ended."""


class Shown(
    msgspec.Struct,
    frozen=True,
    rename={"starts_at": "startsAt", "ends_at": "endsAt", "generator_url": "generatorURL"},
):
    """An alert in the payload."""

    status: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    ends_at: str
    generator_url: str
    fingerprint: str


class Payload(
    msgspec.Struct,
    frozen=True,
    rename={
        "group_key": "groupKey",
        "truncated_alerts": "truncatedAlerts",
        "group_labels": "groupLabels",
        "common_labels": "commonLabels",
        "common_annotations": "commonAnnotations",
        "external_url": "externalURL",
    },
):
    """The payload. `truncated_alerts` is always 0: what is too much for one message comes in the next."""

    group_key: str
    status: str
    group_labels: dict[str, str]
    common_labels: dict[str, str]
    common_annotations: dict[str, str]
    alerts: list[Shown]
    version: str = "4"
    truncated_alerts: int = 0
    receiver: str = RECEIVER
    external_url: str = ""


def body(alerts: Sequence[Alert], group: Group) -> bytes:
    """One message about alerts of a group; it is `firing` where one of them is."""
    shown = [_shown(alert) for alert in alerts]
    written = ", ".join(f"{name}={json.dumps(text, ensure_ascii=False)}" for name, text in group)
    return ENCODER.encode(
        Payload(
            group_key=f"{{}}:{{{written}}}",
            status="firing" if any(alert.status == "firing" for alert in alerts) else "resolved",
            group_labels=dict(group),
            common_labels=_common([alert.labels for alert in shown]),
            common_annotations=_common([alert.annotations for alert in shown]),
            alerts=shown,
        )
    )


def _shown(alert: Alert) -> Shown:
    posted = alertmanager.to_alertmanager(alert)
    return Shown(
        status=alert.status,
        labels=posted.labels,
        annotations=posted.annotations,
        starts_at=posted.starts_at,
        ends_at=NO_TIME if alert.status == "firing" or posted.ends_at is None else posted.ends_at,
        generator_url=posted.generator_url,
        fingerprint=alertmanager.fingerprint(posted.labels),
    )


def _common(several: Sequence[dict[str, str]]) -> dict[str, str]:
    """What they all have alike."""
    first, *rest = several
    return {name: text for name, text in first.items() if all(one.get(name) == text for one in rest)}
