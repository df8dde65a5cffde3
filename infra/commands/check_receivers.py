"""`headgate check` on the receivers of alerts: do they answer, and let us in?"""

import asyncio
from collections.abc import Iterator

import aiohttp
import msgspec

from infra.commands.finding import Finding, note, ok, wrong
from schemas.errors import HeadgateError
from schemas.settings import Settings
from streams import registry
from streams.notify import posting
from streams.notify.plans import Continual
from streams.notify.posting import Receiver

DENIED = (401, 403, 407)


class Version(msgspec.Struct):
    """What is asked of an Alertmanager's status."""

    version: str = ""


class Status(msgspec.Struct):
    """An Alertmanager's answer to `/api/v2/status`, as far as we want it."""

    version_info: Version = msgspec.field(name="versionInfo")


def check(settings: Settings) -> Iterator[Finding]:
    """A finding a receiver; one where there are none."""
    if not settings.notify.configured:
        yield note("receivers", "none is configured, alerts stay in Headgate", registry.NAME_RECEIVER)
        return
    try:
        receivers = posting.configured(settings.notify)
    except HeadgateError as error:
        yield wrong("receivers", str(error), "name another file")
        return
    yield from asyncio.run(_look(receivers))


async def _look(receivers: list[Receiver]) -> list[Finding]:
    async with aiohttp.ClientSession() as session:
        return list(await asyncio.gather(*(_ask(session, receiver) for receiver in receivers)))


async def _ask(session: aiohttp.ClientSession, receiver: Receiver) -> Finding:
    subject = f"receiver {receiver.plan.name}"
    alertmanager = isinstance(receiver.plan, Continual)
    kind = "alertmanager" if alertmanager else "webhook"
    try:
        status, said = await receiver.probe(session)
    except HeadgateError as error:
        return wrong(
            subject, f"does not answer: {error}", f"start it, or set {kind} under [notify] in headgate.toml"
        )
    if status in DENIED:
        return wrong(
            subject,
            f"does not let us in (status {status})",
            f"set HEADGATE_{kind.upper()}_TOKEN, or {kind}_user under [notify] and "
            f"HEADGATE_{kind.upper()}_PASSWORD",
        )
    if not alertmanager:
        return ok(subject, f"answers (status {status} to a request that tells it nothing)")
    try:
        version = msgspec.json.decode(said, type=Status).version_info.version
    except msgspec.DecodeError:
        return wrong(
            subject,
            f"is no Alertmanager: found status {status} and no version, expected its API v2",
            "set alertmanager under [notify] to its address, with its path prefix if it has one",
        )
    return ok(subject, f"answers, version {version}")
