"""How commands write: JSON for programs, times and durations for people."""

import sys
from argparse import ArgumentTypeError
from datetime import UTC, datetime

import msgspec

from schemas.policies import Duration


def print_json(value: object) -> None:
    """The value as indented JSON on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()


def instant(milliseconds: int) -> str:
    """A time (epoch ms) as people write it, to the second, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(milliseconds: int) -> str:
    """A span (ms) in its two largest units: `850 ms`, `12 s`, `3 m 5 s`, `2 h 10 m`, `4 d 3 h`."""
    if milliseconds < 1_000:
        return f"{max(0, milliseconds)} ms"
    seconds = milliseconds // 1_000
    units = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
    first = next(i for i, (_, size) in enumerate(units) if seconds >= size)
    parts: list[str] = []
    for name, size in units[first : first + 2]:
        count, seconds = divmod(seconds, size)
        if count or not parts:
            parts.append(f"{count} {name}")
    return " ".join(parts)


def duration(text: str) -> float:
    """A command line's duration (`30s`, `2m`), in seconds. Raises ValueError for what is none."""
    return Duration.parse(text) / 1_000


def milliseconds(text: str) -> int:
    """A command line's duration (`30s`, `2h`), in ms, as `argparse` wants it told that it is none."""
    try:
        return int(Duration.parse(text))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def time(text: str) -> int:
    """Epoch ms of an ISO 8601 time, UTC where it does not say; `argparse` is told where it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"Expected a time such as 2026-02-01T12:00, got `{text}`") from error
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return round(found.timestamp() * 1_000)
