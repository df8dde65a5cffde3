"""What `headgate check` finds: one line each."""

from enum import StrEnum

import msgspec


class State(StrEnum):
    """How a thing is. Only `WRONG` makes the check fail."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and what to do where it is not as it should be."""

    subject: str
    state: State
    text: str
    remedy: str = ""


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(subject, State.OK, text)


def note(subject: str, text: str, remedy: str = "") -> Finding:
    """Worth knowing; nothing is wrong."""
    return Finding(subject, State.NOTE, text, remedy)


def wrong(subject: str, text: str, remedy: str) -> Finding:
    """To be mended."""
    return Finding(subject, State.WRONG, text, remedy)
