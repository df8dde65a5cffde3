"""Which alerts are silenced: `control.silences`, as far as it is read. Pure."""

import msgspec

from schemas.records import Alert, Codec, Silence, problem
from schemas.signing import Headers, Keyring
from streams.notify.plans import LATER


class Silences:
    """The silences that have not ended. Where `keys` has any, those that are not signed with one hold
    nothing."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys
        self._by_id: dict[tuple[str, str], Silence] = {}
        self._codec: Codec[Silence] = Codec(Silence)

    def read(self, key: bytes | None, value: bytes | None, timestamp: int, headers: Headers) -> None:
        """Takes a record with its Kafka timestamp (ms), in log order; one without value: all is forgotten of
        it.

        Raises ValueError for a record that is no silence; all is then as before.
        """
        if value is None:
            model, _, id_ = (key or b"").decode("utf-8", "replace").rpartition("/")
            self._by_id.pop((model, id_), None)
            return
        silence = self._codec.decode(value)
        wrong = problem(silence, timestamp) or self._keys.mistake(value, headers)
        if wrong is not None:
            raise ValueError(wrong)
        self._by_id[silence.model, silence.silence_id] = silence

    def in_force(self, now: int, model: str | None = None) -> list[Silence]:
        """Those that hold at wall time `now` (ms), of one model or of all; the first to end first."""
        found = [
            silence
            for silence in self._by_id.values()
            if silence.ts <= now < silence.ends_at and model in (None, silence.model)
        ]
        return sorted(found, key=lambda silence: (silence.ends_at, silence.model, silence.silence_id))

    def ended(self, before: int) -> list[Silence]:
        """Those that ended before a time (ms)."""
        return [silence for silence in self._by_id.values() if silence.ends_at < before]

    def next_change(self, now: int) -> int:
        """The next time (ms) at which one begins or ends by itself."""
        times = (time for silence in self._by_id.values() for time in (silence.ts, silence.ends_at))
        return min((time for time in times if time > now), default=LATER)

    def forget(self, before: int) -> None:
        """Drops those that ended before a time (ms)."""
        self._by_id = {place: one for place, one in self._by_id.items() if one.ends_at >= before}


def matches(silence: Silence, alert: Alert) -> bool:
    """Whether the silence is about this alert."""
    labels = {"severity": alert.severity} | alert.labels
    return (
        silence.model == alert.model
        and silence.rule in (None, alert.rule)
        and (silence.labels or {}).items() <= labels.items()
    )


def key(silence: Silence) -> str:
    """Of the record."""
    return f"{silence.model}/{silence.silence_id}"


def ended(silence: Silence, actor: str, now: int) -> Silence:
    """The same, ended by `actor` at wall time `now` (ms)."""
    return msgspec.structs.replace(silence, ends_at=max(now, silence.ts + 1), ended_by=actor)
