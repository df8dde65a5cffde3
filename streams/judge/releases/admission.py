"""Whether a command may be listened to, before it is asked what it means: is it genuine, new, of now, about
what stands and about something that exists.

Pure. Whatever goes to safety is done however late it comes: see `PRESSING`.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from streams.judge.releases.commands import Order, RefusedError
from streams.judge.releases.release import Standing

STALE = 600_000
"""Commands other than `PRESSING` are refused when they are older (ms): a judge that was down for an hour must
not promote what somebody wanted an hour ago.
"""
PRESSING = ("rollback", "abort", "pause")
"""These take traffic away from what is new, or stop it there: better late than never."""
PATIENCE = 2_000
"""So long (ms) a version is waited for that no worker has: they tell within a second what has come."""


class Known(NamedTuple):
    """What the judge knows of a model when it is asked for something. `elsewhere`: models that live workers
    serve, where none of them serves this one and nothing else tells of it. `versions`: those in the
    repositories of the live workers; None where one of them does not say, or none lives.
    """

    seen: Collection[str] = ()
    elsewhere: Collection[str] = ()
    versions: Collection[str] | None = None


def check(order: Order, standing: Standing | None, known: Known, now: int) -> None:
    """Raises `RefusedError` for a command that must not be carried out, whatever it asks for."""
    command = order.command
    if order.forged is not None:
        raise RefusedError(order.forged)
    if command.command_id in known.seen:
        raise RefusedError(f"command {command.command_id} has been dealt with before: this is a repetition")
    age = now - command.ts
    if age > STALE and command.command not in PRESSING:
        raise RefusedError(
            f"it is {age // 60_000} min old, and {command.command} is done within {STALE // 60_000} min "
            "only: give it again if it is still meant"
        )
    if command.generation is not None:
        stands = 0 if standing is None else standing.release.generation
        if command.generation != stands:
            raise RefusedError(f"it was meant for generation {command.generation}, found generation {stands}")
    if standing is None and known.elsewhere:
        served = ", ".join(sorted(known.elsewhere))
        raise RefusedError(
            f"nothing is known of a model {command.model}: no live worker serves it (they serve {served}), "
            "and it has no policy, no predictions and no release"
        )
    stranger = _stranger(order, standing, known)
    if stranger is not None:
        found = ", ".join(sorted(known.versions or ())) or "none"
        raise RefusedError(f"no live worker has a version {stranger} of {command.model} (they have {found})")


def waits(orders: Sequence[Order], standing: Standing | None, known: Known, now: int) -> bool:
    """Whether the first of `orders` is about a version that nobody has, but may have come just now. Nobody
    waits where something pressing waits behind it.
    """
    first, *rest = orders
    pressing = any(order.command.command in PRESSING for order in rest)
    in_time = now < first.timestamp + PATIENCE and not pressing
    return in_time and _stranger(first, standing, known) is not None


def _stranger(order: Order, standing: Standing | None, known: Known) -> str | None:
    """The version that would have to serve, and is in nobody's repository."""
    command = order.command
    restores = command.command == "rollback" and standing is not None and not standing.runs
    if known.versions is None or not (command.command == "start" or restores):
        return None
    version = command.version
    return version if version is not None and version not in known.versions else None
