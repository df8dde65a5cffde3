"""Posts messages over HTTP, and says what became of them: taken, refused for good, or to be tried again.

Says nothing of credentials, and of a webhook's URL only its host. Goes where the setting says and nowhere
else: neither proxies of the environment nor redirections are followed.
"""

import base64
import random
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import msgspec

from schemas import receivers
from schemas.errors import HeadgateError
from schemas.receivers import Notify
from schemas.records import ENCODER, Alert
from streams.notify import alertmanager, webhook
from streams.notify.book import Place
from streams.notify.plans import Continual, Group, Grouped, Message, Plan

ENDURANCE = 4
"""An Alertmanager takes an alert to be over that it has not heard of for so many times `resend`."""
SHORTEST, LONGEST = 1.0, 30.0
"""Seconds until a receiver that is away is tried again: at first, and at most; jittered downwards by up to a
half."""
PATIENCE = 600.0
"""Seconds at most for which a receiver may ask to be left alone (`Retry-After`)."""
REASON = 300
"""Characters that are kept of a receiver's answer."""
OURS = frozenset({401, 403, 407, 408, 425, 429})
"""Refusals that are not about what was posted, but about us, or about now: tried again."""
THEIRS = frozenset({400, 413, 422})
"""Refusals of a message that may be about one of its alerts alone."""

_CONTEXT = re.compile(r" ssl:(<[^>]*>|\w+)")
"""What aiohttp says of TLS in its errors: nothing for people."""

Encode = Callable[[Sequence[Alert], Group, int], bytes]
"""Makes the body of a message about alerts of a group, at wall time (ms)."""


class Outcome(msgspec.Struct):
    """What became of a message. `refused`: what the receiver will never take, and why. `away`: why the rest
    has to be tried again, after `pause` seconds where the receiver has said so.
    """

    taken: dict[Place, Alert] = {}
    refused: dict[Place, tuple[Alert, str]] = {}
    away: str | None = None
    pause: float | None = None


@dataclass(eq=False)
class Receiver:
    """One receiver: where it is, how to log in, and when it is told what."""

    plan: Plan
    url: str = field(repr=False)
    encode: Encode
    headers: Mapping[str, str] = field(repr=False)
    tls: ssl.SSLContext
    timeout: float

    async def post(self, session: aiohttp.ClientSession, message: Message, now: int) -> Outcome:
        """Posts a message. One that is refused is parted until it is known which alerts are to blame."""
        status, text, pause = await self._post(session, message, now)
        if status is not None and 200 <= status < 300:
            return Outcome(taken=dict(message.alerts))
        reason = text if status is None else f"answered {status}{f': {text}' if text else ''}"
        if status is None or status in OURS or not 400 <= status < 500:
            return Outcome(away=reason, pause=pause)
        if status not in THEIRS or len(message.alerts) == 1:
            return Outcome(refused={place: (alert, reason) for place, alert in message.alerts.items()})
        return await self._post_parts(session, message, now)

    async def _post_parts(self, session: aiohttp.ClientSession, message: Message, now: int) -> Outcome:
        whole, alerts = Outcome(), list(message.alerts.items())
        middle = len(alerts) // 2
        for half in (alerts[:middle], alerts[middle:]):
            part = await self.post(session, Message(message.group, dict(half)), now)
            whole.taken |= part.taken
            whole.refused |= part.refused
            whole.away, whole.pause = part.away, part.pause
            if part.away is not None:
                break
        return whole

    async def _post(
        self, session: aiohttp.ClientSession, message: Message, now: int
    ) -> tuple[int | None, str, float | None]:
        """The answer's status (None: there was none), what it says, and for how long to wait."""
        body = self.encode(list(message.alerts.values()), message.group, now)
        try:
            async with session.post(
                self.url,
                data=body,
                headers={**self.headers, "Content-Type": "application/json"},
                ssl=self.tls,
                timeout=aiohttp.ClientTimeout(total=self.timeout),
                allow_redirects=False,
            ) as answer:
                said = (await answer.content.read(4 * REASON)).decode("utf-8", "replace")
                return answer.status, _short(said), _pause(answer.headers.get("Retry-After"))
        except TimeoutError:
            return None, f"no answer within {self.timeout:g} s", None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return None, self._words(error), None

    async def probe(self, session: aiohttp.ClientSession) -> tuple[int, str]:
        """Asks without telling anything: an Alertmanager for its version, a webhook for any answer at all.

        Answers the status and what was said. Raises `HeadgateError` where nobody answers.
        """
        asks_status = isinstance(self.plan, Continual)
        url = self.url.removesuffix(receivers.API) + "/api/v2/status" if asks_status else self.url
        try:
            async with session.request(
                "GET" if asks_status else "HEAD",
                url,
                headers=self.headers,
                ssl=self.tls,
                timeout=aiohttp.ClientTimeout(total=self.timeout),
                allow_redirects=False,
            ) as answer:
                return answer.status, (await answer.content.read(1 << 20)).decode("utf-8", "replace")
        except TimeoutError as error:
            raise HeadgateError(f"no answer within {self.timeout:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise HeadgateError(self._words(error)) from error

    def _words(self, error: Exception) -> str:
        """What went wrong, in one line, without a URL that may be a secret."""
        text = _CONTEXT.sub("", str(error).replace(self.url, receivers.place(self.url)))
        return _short(text) or type(error).__name__


def configured(notify: Notify) -> list[Receiver]:
    """The receivers that the settings name. Raises `HeadgateError` for a certificate that cannot be read."""
    resend = int(notify.resend * 1_000)
    tls = _tls(notify.ca)
    found = [
        Receiver(
            Continual(f"alertmanager {url}", resend),
            url + receivers.API,
            _levels(resend),
            _authorization(notify.alertmanager_user, notify.alertmanager_password, notify.alertmanager_token),
            tls,
            notify.timeout,
        )
        for url in notify.alertmanagers
    ]
    if notify.webhook:
        plan = Grouped(
            f"webhook {receivers.place(notify.webhook)}",
            notify.group_by,
            int(notify.group_wait * 1_000),
            int(notify.repeat * 1_000),
        )
        headers = _authorization(notify.webhook_user, notify.webhook_password, notify.webhook_token)
        found.append(Receiver(plan, notify.webhook, _changes, headers, tls, notify.timeout))
    return found


def pause_after(failures: int, asked: float | None) -> float:
    """Seconds until a receiver that has failed so many times in a row is tried again; as long as it has asked
    for, within reason, where it has.
    """
    if asked is not None:
        return min(asked, PATIENCE)
    longest: float = min(LONGEST, SHORTEST * 2 ** min(failures - 1, 10))
    return longest * (0.5 + random.random() / 2)  # noqa: S311 (jitter, not a secret)


def _levels(resend: int) -> Encode:
    def encode(alerts: Sequence[Alert], _group: Group, now: int) -> bytes:
        return ENCODER.encode([alertmanager.to_alertmanager(_as_of(alert, now, resend)) for alert in alerts])

    return encode


def _as_of(alert: Alert, now: int, resend: int) -> Alert:
    """With an end that is behind where it is resolved, by whatever clock, and ahead where it fires."""
    if alert.status == "firing":
        end = now + ENDURANCE * resend
    else:
        end = now if alert.ends_at is None else min(alert.ends_at, now)
    return msgspec.structs.replace(alert, ends_at=max(end, alert.starts_at))


def _changes(alerts: Sequence[Alert], group: Group, _now: int) -> bytes:
    return webhook.body(alerts, group)


def _authorization(user: str, password: str, token: str) -> dict[str, str]:
    if token:
        return {"Authorization": f"Bearer {token}"}
    if user:
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {encoded}"}
    return {}


def _tls(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (ssl.SSLError, OSError) as error:
        raise HeadgateError(
            f"[notify] ca in headgate.toml: found {ca!r}, which cannot be read ({error}), expected "
            "certificates in PEM format"
        ) from error


def _pause(retry_after: str | None) -> float | None:
    """Seconds, from a `Retry-After` header: a number of them, or a date (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(int(retry_after)))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _short(text: str) -> str:
    return " ".join(text.split())[:REASON]
