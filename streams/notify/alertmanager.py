"""A record of `alerts` as an Alertmanager v2 alert, and back: one-to-one. The table is in the README.

Label and annotation names there are `[a-zA-Z_][a-zA-Z0-9_]*`. Others are escaped as Prometheus escapes UTF-8
names ("values" escaping: prefix `U__`, `_` doubled, every other character as `_hex_`), and so are those that
would collide with ours, so no two names become one.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from schemas.records import Alert

OURS = frozenset({"alertname", "model", "severity"})
"""Labels that stand for fields of the record."""
NOTES = frozenset({"alert_id", "value", "threshold"})
"""Annotations that do: as labels they would make another alert of it whenever they change."""

LINK = "link"
"""The annotation that is an alert's `generatorURL`."""

_PLAIN = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPED = re.compile(r"__|_([0-9a-f]+)_")
_PREFIX = "U__"

_FNV_OFFSET, _FNV_PRIME, _64_BITS = 14_695_981_039_346_656_037, 1_099_511_628_211, (1 << 64) - 1


class Posted(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"starts_at": "startsAt", "ends_at": "endsAt", "generator_url": "generatorURL"},
):
    """`postableAlert` of Alertmanager's API v2. Without `ends_at` it fires, until it is not posted for the
    server's `resolve_timeout`. Times are RFC 3339.
    """

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    ends_at: str | None = None
    generator_url: str = ""


def to_alertmanager(alert: Alert, generator_url: str = "") -> Posted:
    """The alert; `ends_at` is set where it is resolved. `generator_url` is for one without a `link`."""
    annotations = {escape(name, NOTES): text for name, text in alert.annotations.items()}
    annotations["alert_id"] = alert.alert_id
    for name, number in (("value", alert.value), ("threshold", alert.threshold)):
        if number is not None:
            annotations[name] = repr(float(number))
    return Posted(
        labels=labels(alert),
        annotations=annotations,
        starts_at=rfc3339(alert.starts_at),
        ends_at=None if alert.ends_at is None else rfc3339(alert.ends_at),
        generator_url=alert.annotations.get(LINK, generator_url),
    )


def from_alertmanager(posted: Posted) -> Alert:
    """The record that `to_alertmanager` was given, where that was resolved if and only if it had an end.

    Raises ValueError for a time or a number that is none.
    """
    value, threshold = posted.annotations.get("value"), posted.annotations.get("threshold")
    return Alert(
        alert_id=posted.annotations.get("alert_id") or fingerprint(posted.labels),
        model=posted.labels.get("model", ""),
        rule=posted.labels.get("alertname", ""),
        status="firing" if posted.ends_at is None else "resolved",
        severity=posted.labels.get("severity", ""),
        starts_at=milliseconds(posted.starts_at),
        ends_at=None if posted.ends_at is None else milliseconds(posted.ends_at),
        value=None if value is None else float(value),
        threshold=None if threshold is None else float(threshold),
        labels={unescape(name): text for name, text in posted.labels.items() if name not in OURS},
        annotations={unescape(name): text for name, text in posted.annotations.items() if name not in NOTES},
    )


def labels(alert: Alert) -> dict[str, str]:
    """By which Alertmanager knows the alert: two records with the same ones are one alert there."""
    own = {escape(name, OURS): text for name, text in alert.labels.items()}
    return {"alertname": alert.rule, "model": alert.model, "severity": alert.severity} | own


def escape(name: str, reserved: Iterable[str] = ()) -> str:
    """A valid label name for any text, another one for another text, and none of `reserved`.

    >>> escape("team"), escape("team-a"), escape("model", {"model"})
    ('team', 'U__team_2d_a', 'U__model')
    """
    if _PLAIN.fullmatch(name) and not name.startswith(_PREFIX) and name not in reserved:
        return name
    return _PREFIX + "".join(_escaped(character) for character in name)


def unescape(name: str) -> str:
    """What was escaped.

    >>> unescape("U__team_2d_a")
    'team-a'
    """
    if not name.startswith(_PREFIX):
        return name
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "_", name[len(_PREFIX) :])


def fingerprint(labels: Mapping[str, str]) -> str:
    """What Alertmanager calls an alert: FNV-1a, 64 bits, over the labels by their names, as 16 hexadecimal
    digits (`LabelSet.Fingerprint` in prometheus/common).
    """
    digest = _FNV_OFFSET
    for name in sorted(labels, key=lambda name: name.encode()):
        for byte in b"%b\xff%b\xff" % (name.encode(), labels[name].encode()):
            digest = ((digest ^ byte) * _FNV_PRIME) & _64_BITS
    return f"{digest:016x}"


def rfc3339(time: int) -> str:
    """Epoch milliseconds as text.

    >>> rfc3339(1_735_689_600_007)
    '2025-01-01T00:00:00.007Z'
    """
    seconds, rest = divmod(time, 1_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def milliseconds(text: str) -> int:
    """The epoch milliseconds of an RFC 3339 time. Raises ValueError where it is none."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"found {text!r}, expected a time with its zone")
    return int(time.replace(microsecond=0).timestamp()) * 1_000 + time.microsecond // 1_000


def _escaped(character: str) -> str:
    if character == "_":
        return "__"
    return character if character.isascii() and character.isalnum() else f"_{ord(character):x}_"
