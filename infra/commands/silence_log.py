"""Reads the silences from their topic, as the notify stage does, and says what one is about."""

from infra.commands import kafka
from schemas import signing, topics
from schemas.records import Silence
from schemas.settings import Settings
from streams.notify.silencing import Silences


def published(settings: Settings) -> Silences:
    """All that are not forgotten. A record that is none, or is not signed where it must be, is left out: it
    silences nothing.
    """
    silences = Silences(signing.keyring(settings.signing))
    for entry in kafka.read(settings, topics.SILENCES):
        try:
            silences.read(entry.key, entry.value, entry.timestamp, entry.headers)
        except ValueError:
            continue
    return silences


def about(silence: Silence) -> str:
    """Which of a model's alerts it silences, in words."""
    rule = "all rules" if silence.rule is None else silence.rule
    labels = ", ".join(f"{name}={value}" for name, value in sorted((silence.labels or {}).items()))
    return f"{rule}, {labels}" if labels else rule
